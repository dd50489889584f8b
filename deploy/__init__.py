"""Many Darius servers behind one address: examples for clusters. Nothing in Darius needs them."""

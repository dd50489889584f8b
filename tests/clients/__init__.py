"""The programs that play with this server, as it meets them; and tests that they find all that they count on."""

"""How the models we ship were made."""

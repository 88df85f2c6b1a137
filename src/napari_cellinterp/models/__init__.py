"""Networks and formulas, forward only, and the bundles that hold them."""

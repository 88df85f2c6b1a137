"""What comes out: the classification table and its files."""

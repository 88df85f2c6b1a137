"""Open movies, find and link nuclei, crop patches; simulate all of it."""

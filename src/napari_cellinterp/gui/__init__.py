"""The napari side: the only room that knows napari and Qt."""

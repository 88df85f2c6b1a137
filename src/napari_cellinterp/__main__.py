"""``python -m napari_cellinterp`` is the command line."""

from napari_cellinterp.cli.app import main

if __name__ == "__main__":
    main()

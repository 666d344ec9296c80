"""Where the fits of a sweep run: processes of this machine, a Dask or a Ray cluster."""

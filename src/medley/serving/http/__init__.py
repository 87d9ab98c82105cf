"""The service over HTTP: FastAPI routes, keys, limits, metrics and hot swaps of the bundle. Needs the extra `serve`."""

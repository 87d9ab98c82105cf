"""From raw media to modalities of a data set: find files, decode them, encode them, write vectors. Extra `media`."""

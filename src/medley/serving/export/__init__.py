"""Exports a trained model as a bundle: `medley.serving.bundle`.

Which models can be exported:

    final vectors           forward(); the columns are those of parts() where the model has parts
    weights between items   scorer() returns ItemToItem
    MacridVAE               its encoder and its decoder, in numpy

A model with any other scorer is a function of users that only torch can compute, so it cannot be exported. A bundle
without calibration stays in memory and holds any model: `medley.serving.in_memory`.

exporting       the bundle of a run or a model
kinds           which models can be exported, and how
scores          the scores of a model, in numpy
sum_rule        users that are sums over their items
content_paths   the models' own paths from features to item vectors
new_items       the numbers of the rule that places new items
seen            what the users have seen, and when
manifest        what the bundle says about itself
"""

from medley.serving.export.exporting import export
from medley.serving.export.kinds import exportable, listed
from medley.serving.export.manifest import Cold
from medley.serving.export.scores import recency_of

__all__ = ["Cold", "export", "exportable", "listed", "recency_of"]

"""Short forms of questions to a service, for tests."""

import numpy as np

from medley.serving.requests import RecommendRequest, ScoreRequest
from medley.serving.service import Service


def ask(service, **question):
    """Asks for a list."""
    return service.recommend(RecommendRequest(**question))


def ids(answer):
    """Returns the ids of a list."""
    return [item.id for item in answer.items]


def features_of(service, row):
    """Returns the features of an item as a request has them."""
    return {m: values.astype(float).tolist() for m, values in service.catalogue.features(row).items()}


def ids_of_history(service, user):
    """Returns the items of a user."""
    return [item.id for item in service.user(user).history]


def served(service: Service, **question) -> np.ndarray:
    """Returns the scores (I,) of the items of the bundle."""
    everything = service.bundle.items["item_id"].to_list()
    answer = service.score(ScoreRequest(items=everything, **question))
    return np.array([item.score for item in answer.items])

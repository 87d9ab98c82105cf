"""Short forms of questions to a service, for tests."""

from medley.serving.requests import RecommendRequest


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

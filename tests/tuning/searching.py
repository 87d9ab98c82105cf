"""Short searches, for tests."""

SHORT = {"dim": 4, "num_epochs": 4, "batch_size": 512, "progress": False}


def outcomes(tuned) -> list[tuple]:
    return [(one.number, one.state, one.params, one.value, one.best_epoch, one.num_epochs) for one in tuned.trials]


def without(name: str) -> dict:
    return {key: value for key, value in SHORT.items() if key != name}

"""Are the users that a benchmark judges like the users that models learn from?"""

import numpy as np

from medley.auditing.concentration import num_for_half
from medley.auditing.finding import Finding, exceeds
from medley.auditing.pairs import Pairs
from medley.data.dataset import Dataset

FAR = 0.4  # below the half that is expected: the users that hold half of train are a tenth of the judged pairs
MANY = 0.05  # of the judged users, without train pairs


def user_findings(data: Dataset) -> list[Finding]:
    """Returns a finding about the activity of judged users, and one about judged users without history."""
    pairs = Pairs.of(data)
    if not len(pairs.train_user) or not len(pairs.user):
        return []
    return [_judged(pairs), _without_history(pairs)]


def _judged(pairs: Pairs) -> Finding:
    """Compares the share of the held-out pairs of the users who hold half of train with the half they would have.

    The error is that of a share of pairs that come in clusters, one per user.
    """
    most = np.zeros(pairs.num_users, dtype=bool)
    most[np.argsort(-pairs.num_train, kind="stable")[: num_for_half(pairs.num_train)]] = True
    train, held = pairs.num_train[most].sum() / len(pairs.train_user), pairs.num_held[most].sum() / len(pairs.user)
    error = float(np.sqrt(train * (1 - train) * (pairs.num_held.astype(np.float64) ** 2).sum()) / len(pairs.user))
    judged = pairs.num_held > 0
    details = {
        "users_with_half_of_train": int(most.sum()),
        "share_of_train_of_never_judged": float(pairs.num_train[~judged].sum() / len(pairs.train_user)),
        "median_train_pairs_of_judged": float(np.median(pairs.num_train[judged])),
        "mean_activity_seen_by_a_train_pair": float(
            (pairs.num_train.astype(np.float64) ** 2).sum() / len(pairs.train_user)
        ),
    }
    says = (
        f"the {most.sum():,} users who hold {train:.0%} of train are {held:.1%} of the held-out pairs; half of the "
        f"judged users have at most {details['median_train_pairs_of_judged']:g} train items, and a train pair belongs "
        f"to a user with {details['mean_activity_seen_by_a_train_pair']:.0f} on average"
    )
    return Finding(
        "judged-users",
        float(held),
        float(train),
        error,
        exceeds(-float(held), -float(train), error, size=FAR),
        says,
        "Models learn from one kind of users and are judged on another; what helps the first may not help the second.",
        "import again with split=random-user or split=time-user, or weigh the loss per user",
        details,
    )


def _without_history(pairs: Pairs) -> Finding:
    judged = pairs.num_held > 0
    share = float((pairs.num_train[judged] == 0).mean())
    count = int((pairs.num_train[judged] == 0).sum())
    return Finding(
        "users-without-history",
        share,
        0.0,
        None,
        share >= MANY,
        f"{count:,} of {judged.sum():,} judged users ({share:.1%}) have no train item",
        "No model can know these users: for them all models show a list for everybody, which dilutes every difference.",
        "report users with history alone, or import again with split=time-user",
        {"users": count},
    )

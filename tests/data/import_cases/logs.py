"""Logs, tables and arrays that cases of several kinds share."""

import numpy as np

LOG = "user_id,item_id\n" + "".join(f"u{u},{i}\n" for u in range(4) for i in range(u, u + 5))  # 20 pairs, items 0 to 7
ITEMS = "item_id,title\n" + "".join(f"{i},Film {i}\n" for i in range(8))
RATED = "user_id,item_id,rating\na,0,5\na,1,1\nb,0,2\nb,1,4\nc,1,3\n"
EVENTS = "user_id,item_id,event\na,0,view\na,0,buy\na,1,view\nb,1,buy\nb,0,dislike\n"
MMREC = "userID\titemID\tx_label\n0\t0\t0\n0\t1\t0\n1\t2\t1\n1\t0\t2\n"  # 2 users, 3 items
ATOMIC = "user_id:token\titem_id:token\n"
TRIPLES = "1 4 5\n1 7 3\n2 4 5\n2 9 1\n3 7 2\n"
A8, A3 = np.arange(16, dtype=np.float32).reshape(8, 2), np.ones((3, 2), dtype=np.float32)
PAIRS = np.array([[0, 0, 1, 1, 2], [0, 1, 1, 2, 0]])
SEQUENCES = "u1\tx y z\nu2\ty x\nu3\tz\n"

"""Monomial-NFN's split of the zoo of CNNs reads a header as a network: number 0 comes twice, often in both halves.

The file is a permutation of the networks under a line "0". Its first half trains, the second tests.
"""

import random

from weightspace.zoo.split import assign

count, draws, both = 100, 1000, 0
for seed in range(draws):
    order = random.Random(seed).sample(range(count), count)
    lines = ["0", *map(str, order)]
    read = [int(line) for line in lines]  # what reading without a header gives
    half = len(read) // 2
    both += bool(set(read[:half]) & set(read[half:]))

splits = assign([*range(count), 0])  # the split belongs to the number, however often it is read
assert both / draws > 0.4
assert splits[0] == splits[-1]
print(f"header read as a network: in both halves for {both / draws:.0%} of the orders; a split by number: for none")

"""The oracle of a pattern in compiled form: the best scores of every label, and what follows from them.

A pattern is given by its ``Room``: of the weights with label l at most room[l] are kept. A cardinality has one label.
"""

from __future__ import annotations

import numpy as np

from cbs_opt.solvers.compiled.compilation import compiled
from cbs_opt.solvers.forms.node_state import FREE, KEPT, PRUNED, Room

CAUTION = 1e-9
"""The part of a rise in (B) that screening leaves out: many times the round-off of a difference of scores."""


@compiled()
def sort_descending(a):
    """Sort in place, largest first (Shell's method with Ciura's gaps: small, and quick to compile)."""
    n = a.shape[0]
    for gap in (701, 301, 132, 57, 23, 10, 4, 1):
        for i in range(gap, n):
            value = a[i]
            j = i
            while j >= gap and a[j - gap] < value:
                a[j] = a[j - gap]
                j -= gap
            a[j] = value


@compiled()
def by_label(label_of, labels):
    """The weights in the order of their labels (m,), and where those of each label begin (labels + 1,)."""
    m = label_of.shape[0]
    starts = np.zeros(labels + 1, np.int64)
    for i in range(m):
        starts[label_of[i] + 1] += 1
    for label in range(labels):
        starts[label + 1] += starts[label]
    next_place = starts.copy()
    order = np.empty(m, np.int64)
    for i in range(m):
        order[next_place[label_of[i]]] = i
        next_place[label_of[i]] += 1
    return order, starts


@compiled()
def choose_best(scores, room, chosen):
    """chosen ← the weights with the K largest scores of each label, K its room; ties keep the first.

    Returns two arrays (labels,): the K-th largest score of each label (∞ for K = 0), and the next (0 where there is
    none).
    """
    label_of, most = room
    labels = most.shape[0]
    order, starts = by_label(label_of, labels)
    sorted_scores, kth, next_score = np.empty(scores.shape[0]), np.empty(labels), np.empty(labels)
    for label in range(labels):
        first, end = starts[label], starts[label + 1]
        count = end - first
        for p in range(first, end):
            sorted_scores[p] = scores[order[p]]
        sort_descending(sorted_scores[first:end])
        K = min(most[label], count)
        kth[label] = sorted_scores[first + K - 1] if K > 0 else np.inf
        next_score[label] = sorted_scores[first + K] if count > K else 0.0
        ties = K
        for p in range(first, end):
            if scores[order[p]] > kth[label]:
                ties -= 1
        for p in range(first, end):
            i = order[p]
            chosen[i] = scores[i] > kth[label]
            if K > 0 and scores[i] == kth[label] and ties > 0:
                chosen[i] = True
                ties -= 1
    return kth, next_score


@compiled()
def budget_tau(w, D, room, tau):
    """tau (labels,) ← the τ of each label with Σ min(1, |w_i|√D_i/τ) = K, K its room; 0 if at most K are non-zero."""
    label_of, most = room
    order, starts = by_label(label_of, most.shape[0])
    sizes = np.empty(w.shape[0])
    for label in range(most.shape[0]):
        first, end = starts[label], starts[label + 1]
        for p in range(first, end):
            i = order[p]
            sizes[p] = abs(w[i]) * np.sqrt(D[i])
        a = sizes[first:end]
        count = end - first
        sort_descending(a)
        tail = 0.0
        for i in range(count):
            tail += a[i]
        K = most[label]
        tau[label] = 0.0
        # With the `full` largest at z = 1, τ = (sum of the others)/(K − full), valid once it exceeds each of them.
        for full in range(min(K, count)):
            share = tail / (K - full)
            if a[full] <= share:
                tau[label] = share
                break
            tail -= a[full]


@compiled(inlined=True)
def settle(state, room):
    """Fix the free weights of labels without a choice: as kept where all may be kept, as pruned where none may.

    ``room`` counts all weights. Returns how many weights are still free.
    """
    label_of, most = room
    labels = most.shape[0]
    left = most.copy()
    free = np.zeros(labels, np.int64)
    for i in range(state.shape[0]):
        if state[i] == KEPT:
            left[label_of[i]] -= 1
        elif state[i] == FREE:
            free[label_of[i]] += 1
    still = 0
    for i in range(state.shape[0]):
        if state[i] == FREE:
            label = label_of[i]
            if left[label] <= 0:
                state[i] = PRUNED
            elif free[label] <= left[label]:
                state[i] = KEPT
            else:
                still += 1
    return still


@compiled(inlined=True)
def room_of_node(room, order, kept):
    """The room of a node's free weights, with labels numbered from 0, and the number of each of these in ``room``.

    ``order`` are the weights that the node has not pruned, the ``kept`` ones that it keeps first.
    """
    label_of, budget = room
    free = order.shape[0] - kept
    left = budget.copy()
    for p in range(kept):
        left[label_of[order[p]]] -= 1
    place = np.full(left.shape[0], -1, np.int64)
    names = np.empty(left.shape[0], np.int64)
    most = np.empty(left.shape[0], np.int64)
    labels = np.empty(free, np.int64)
    count = 0
    for p in range(free):
        label = label_of[order[kept + p]]
        if place[label] < 0:
            place[label] = count
            names[count] = label
            most[count] = left[label]
            count += 1
        labels[p] = place[label]
    return Room(labels, most[:count].copy()), names[:count].copy()


@compiled(inlined=True)
def screen(state, order, kept, scores, room, own, cutoff):
    """Fix the weights on which all masks of a value below the cutoff agree, and return how many these are.

    ``room`` is that of the node's free weights, ``own`` the bound (B) that the scores belong to. A better bound from
    elsewhere must not take its place, since the rise by another decision belongs to these scores.
    """
    label_of = room.labels
    kth, next_score = choose_best(scores, room, np.empty(scores.shape[0], np.bool_))
    fixed = 0
    for p in range(scores.shape[0]):
        label = label_of[p]
        inside = scores[p] > kth[label]
        rise = 0.0  # for a score tied at the threshold, about which nothing can be said
        if inside:
            rise = scores[p] - next_score[label]
        elif scores[p] < kth[label]:
            rise = kth[label] - scores[p]
        if rise > 0.0 and own + rise * (1.0 - CAUTION) >= cutoff:
            state[order[kept + p]] = KEPT if inside else PRUNED
            fixed += 1
    return fixed


@compiled(inlined=True)
def keeping_none(state, order, kept, scores, room, own):
    """The number from which the scores of kept weights are subtracted: ``own`` plus the largest scores of each label.

    As many scores count as the label has room in the node, less those of weights that screening has fixed as kept. A
    mask of the node that keeps the set T of its free weights has a value of at least this number less Σ_{i∈T} s_i.
    """
    label_of, most = room
    labels = most.shape[0]
    kth, _ = choose_best(scores, room, np.empty(scores.shape[0], np.bool_))
    above = np.zeros(labels, np.int64)
    count = np.zeros(labels, np.int64)
    total = own
    for p in range(scores.shape[0]):
        label = label_of[p]
        count[label] += 1
        if scores[p] > kth[label]:
            total += scores[p]
            above[label] += 1
        if state[order[kept + p]] == KEPT:
            total -= scores[p]
    for label in range(labels):
        at_the_threshold = min(most[label], count[label]) - above[label]
        if at_the_threshold > 0:
            total += at_the_threshold * kth[label]
    return total if total > -np.inf else -np.inf  # a NaN proves nothing either

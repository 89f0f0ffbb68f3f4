"""Nobody can hold up others: the order in which a fair queue serves."""

from hypothesis import given
from hypothesis import strategies as st

from extproc.fairness.queue import FairQueue, Owner
from support.tables import each_case

A, B, C = (Owner("https://idp.example", name) for name in "abc")
OTHER = Owner("https://other.example", "a")


def queue_of(*owners):
    queue = FairQueue()
    for position, owner in enumerate(owners):
        queue.push(owner, position)
    return queue


def drained(queue, *, one_by_one):
    order = []
    while (found := queue.pop()) is not None:
        order.append(found)
        if one_by_one:
            queue.done(found[0])
    return order


def test_of_one_owner_the_first_comes_first():
    assert drained(queue_of(A, A, A), one_by_one=True) == [(A, 0), (A, 1), (A, 2)]


def test_a_new_owner_is_served_before_an_owner_with_items_under_way():
    queue = queue_of(A, A, A, A)
    assert [queue.pop(), queue.pop()] == [(A, 0), (A, 1)]
    queue.push(B, "b")
    assert queue.pop() == (B, "b")


def test_with_one_server_it_goes_round_by_owner():
    queue = queue_of(A, A, A, B, B, C)
    assert [owner for owner, _ in drained(queue, one_by_one=True)] == [A, B, C, A, B, A]


def test_all_subjects_of_one_issuer_together_do_not_keep_those_of_another_waiting():
    crowd = [Owner("https://idp.example", str(n)) for n in range(100)]
    queue = queue_of(*crowd, OTHER)
    assert [queue.pop()[0], queue.pop()[0]] == [crowd[0], OTHER]


def test_equal_subjects_of_two_issuers_are_two_owners():
    queue = queue_of(A, A, OTHER)
    assert [queue.pop()[0], queue.pop()[0]] == [A, OTHER]


def test_what_is_taken_out_is_not_served():
    queue = queue_of(A, A, B)
    assert queue.remove(A, 0)
    assert not queue.remove(A, 0)
    assert not queue.remove(C, 0)
    assert [item for _, item in drained(queue, one_by_one=True)] == [1, 2]


@each_case(
    ("waiting", "owner", "ahead"),
    [([], A, 0), ([B, B, B], A, 1), ([A, A], A, 2), ([A, B, B, B], A, 3), ([B, C, OTHER], A, 3)],
)
def test_the_items_ahead_of_a_further_one_are_counted(waiting, owner, ahead):
    queue = queue_of(*waiting)
    assert queue.ahead_of(owner) == ahead
    queue.push(owner, "mine")
    served = [item for _, item in drained(queue, one_by_one=False)]
    assert served.index("mine") <= ahead


owners = st.builds(Owner, st.sampled_from("xy"), st.sampled_from("abc"))
steps = st.lists(st.tuples(st.sampled_from(["push", "push", "pop", "done", "remove"]), owners), max_size=80)


@given(steps)
def test_any_program_is_counted_right_serves_the_least_served_first_and_drops_absent_owners(program):
    queue, waiting, under_way = FairQueue(), [], []
    for number, (step, owner) in enumerate(program):
        if step == "push":
            queue.push(owner, number)
            waiting.append((owner, number))
        elif step == "pop":
            found = queue.pop()
            assert (found is None) == (not waiting)
            if found is not None:
                fewest = min(under_way.count(other) for other, _ in waiting)
                assert under_way.count(found[0]) == fewest
                assert found == next(each for each in waiting if each[0] == found[0])
                waiting.remove(found)
                under_way.append(found[0])
        elif step == "done" and owner in under_way:
            queue.done(owner)
            under_way.remove(owner)
        elif step == "remove":
            mine = [each for each in waiting if each[0] == owner]
            if mine:
                assert queue.remove(*mine[-1])
                waiting.remove(mine[-1])
        assert len(queue) == len(waiting)
        for each in {*under_way, *(other for other, _ in waiting), owner}:
            assert queue.outstanding(each) == under_way.count(each) + [o for o, _ in waiting].count(each)
    for owner, item in waiting:
        queue.remove(owner, item)
    for owner in under_way:
        queue.done(owner)
    assert [len(kept) for kept in (queue._waiting, queue._under_way, queue._served)] == [0] * 3


@given(st.lists(owners, min_size=1, max_size=30), st.integers(1, 4))
def test_no_owner_waits_for_more_than_a_turn_of_each_other_owner(program, servers):
    """With each owner's line kept full, two turns of one owner have all others' turns between them."""
    queue = queue_of(*program)
    present = set(program)
    turns, running = [], []
    for number in range(100, 100 + 4 * len(present)):
        while len(running) < servers:
            owner, _ = queue.pop()
            turns.append(owner)
            running.append(owner)
            queue.push(owner, (number, len(turns)))
        queue.done(running.pop(0))
    if len({owner.issuer for owner in present}) == 1:
        # After the start, in which lines of different lengths may begin together.
        for position in range(len(turns) - 2 * len(present)):
            assert set(turns[position : position + 2 * len(present)]) == present

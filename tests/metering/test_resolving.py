from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from metering.services.sending.resolving import find_counted


def test_the_one_event_that_explains_the_difference_was_counted():
    assert find_counted(100, [(1, 100)]) == {1}
    assert find_counted(100, [(1, 100), (2, 30)]) == {1}
    assert find_counted(130, [(1, 100), (2, 30)]) == {1, 2}
    assert find_counted(-10, [(1, 100), (2, -10)]) == {2}


def test_nothing_is_proven_where_nothing_or_several_choices_explain_it():
    assert find_counted(0, [(1, 100)]) == frozenset()
    assert find_counted(99, [(1, 100)]) == frozenset()
    assert find_counted(100, [(1, 100), (2, 100)]) == frozenset()
    assert find_counted(100, [(1, 100), (2, 60), (3, 40)]) == frozenset()
    assert find_counted(13, [(number, 1) for number in range(13)]) == frozenset()


@given(
    st.lists(st.integers(-50, 50).filter(bool), max_size=8),
    st.data(),
)
def test_what_is_called_counted_adds_up_and_is_the_truth_if_it_is_the_only_choice(values, data):
    events = list(enumerate(values))
    truth = frozenset(data.draw(st.sets(st.sampled_from(range(len(values))))) if values else set())
    difference = sum(values[pk] for pk in truth)

    counted = find_counted(difference, events)

    assert not counted or sum(values[pk] for pk in counted) == difference
    assert counted in (truth, frozenset()) or difference == 0

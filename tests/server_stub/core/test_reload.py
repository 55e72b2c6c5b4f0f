"""`reload`: a plan of two configurations, applied to the first, is the second."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from server_stub.core.reload import plan
from server_stub.core.roster import Command, Manners, Member, Remote, Roster

NAMES = st.sampled_from(["a", "b", "c", "d"])
WHATS: list[Command | Remote] = [
    Command(("x",)),
    Command(("x",), env=(("A", "1"),)),
    Command((), "x"),
    Remote("http://a/"),
    Remote("http://b/"),
]
MANNERS = [Manners(), Manners(tokens=("t",)), Manners(tokens=("u",)), Manners(share="shared")]
MEMBERS = st.tuples(
    NAMES, st.sampled_from(WHATS), st.sampled_from(MANNERS), st.booleans(), st.sampled_from([None, "why"])
).map(lambda parts: Member(*parts))
ROSTERS = st.lists(MEMBERS, unique_by=lambda member: member.name).map(
    lambda members: Roster("config.json", members=tuple(members))
)


@given(ROSTERS, ROSTERS)
def test_a_plan_applied_to_the_first_is_the_second(old: Roster, new: Roster) -> None:
    assert plan(old, new).applied(old.members) == new.members


@given(ROSTERS, ROSTERS)
def test_every_name_has_one_fate_and_what_is_kept_is_untouched(old: Roster, new: Roster) -> None:
    found = plan(old, new)
    changed = [member.name for member in (*found.start, *found.restart, *found.admit)]
    names = [*changed, *found.stop, *found.keep]
    assert sorted(names) == sorted({member.name for member in (*old.members, *new.members)})
    assert all(old.find(name) == new.find(name) for name in found.keep)
    assert all(old.find(member.name) not in (None, member) for member in found.restart)


@given(ROSTERS)
def test_the_same_again_changes_nothing(roster: Roster) -> None:
    found = plan(roster, roster._replace(members=roster.members[::-1], digest="other"))
    assert found.is_empty
    assert set(found.keep) == {member.name for member in roster.members}


def test_a_member_whose_tokens_alone_changed_need_not_start_anew() -> None:
    def one(*tokens: str, command: str = "x") -> Roster:
        return Roster("f", members=(Member("a", Command((command,)), Manners(tokens=tokens or None)),))

    assert plan(one("t"), one("u")).admit == one("u").members
    assert plan(one("t"), one("u")).applied(one("t").members) == one("u").members
    assert plan(one("t"), one("u", command="y")).restart == one("u", command="y").members
    assert plan(one("t"), one()).restart == one().members

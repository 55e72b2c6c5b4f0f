"""When a pipe is asked whether anybody is there."""

from __future__ import annotations

from mcp_remote_py.core.vigil import LOOK_SECONDS, Deed, Vigil


def looks(vigil: Vigil, count: int, start: float = 0.0) -> list[Deed]:
    return [vigil.look(start + LOOK_SECONDS * at) for at in range(1, count + 1)]


def test_a_silent_pipe_is_asked_every_other_look() -> None:
    assert looks(Vigil(0.0), 2) == [Deed.NOTHING, Deed.ASK]


def test_silence_after_a_question_is_complained_about_once_and_asked_on() -> None:
    deeds = looks(Vigil(0.0), 10)
    assert [deed for deed in deeds if deed is not Deed.NOTHING] == [Deed.ASK, Deed.COMPLAIN, *[Deed.ASK] * 3]


def test_whoever_speaks_is_not_asked_and_may_be_complained_about_again() -> None:
    vigil = Vigil(0.0)
    looks(vigil, 4)
    for at in range(61, 300, 10):
        vigil.heard(float(at))
        assert vigil.look(at + 9.0) is Deed.NOTHING
    assert Deed.COMPLAIN in looks(vigil, 6, 300.0)


def test_a_question_for_another_reason_counts() -> None:
    vigil = Vigil(0.0)
    vigil.asked(10.0)
    assert vigil.look(20.0) is Deed.NOTHING
    assert vigil.look(36.0) is Deed.COMPLAIN

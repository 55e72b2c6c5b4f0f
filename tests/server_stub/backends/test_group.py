"""The merged server: its links, with made-up members behind them."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import psutil
import pytest

from mcp_remote_py.core import message as msg
from mcp_remote_py.core.errors import ShuttingDown
from mcp_remote_py.core.link import Link
from mcp_remote_py.core.message import Kind
from server_stub.backends import Connect, Peer
from server_stub.backends.group import Group
from server_stub.backends.process import connect_process
from server_stub.children import ServerSpec
from server_stub.core.catalog import join_name, join_uri
from tests.server_stub.backends.merged import Client, Piped, Server, client_of, connects, down, grouped
from tests.server_stub.links import SECONDS, ScriptedLink, eventually
from tests.support.children import child

TOOLS_CHANGED = "notifications/tools/list_changed"


async def forever(*_: Any) -> Any:
    await asyncio.Event().wait()


# --- The greeting --------------------------------------------------------------------------------------------------


async def test_members_are_greeted_with_what_the_client_says_and_told_when_it_is_done() -> None:
    a, b = Server("x", instructions="Use x."), Server("y")
    async with client_of(grouped(a=a, b=b)) as client:
        result = await client.greet(sampling={})
        for server in (a, b):
            greeting = await server.received("initialize")
            assert greeting["params"]["capabilities"] == {"sampling": {}}
            assert greeting["params"]["clientInfo"]["name"] == "client"
            await server.received("notifications/initialized")
            assert [one["method"] for one in server.heard] == ["initialize", "notifications/initialized"]
    assert result["serverInfo"] == {"name": "merged", "version": "1"}
    assert result["instructions"] == "## a\n\nUse x."
    assert result["capabilities"]["tools"] == {"listChanged": True}


async def test_members_are_not_told_before_the_client_is_done() -> None:
    a = Server("x")
    async with client_of(grouped(a=a)) as client:
        await client.result("initialize", protocolVersion="2025-06-18", capabilities={})
        await client.result("ping")
        assert a.all("notifications/initialized") == []
        await client.result("tools/list")  # some never say that they are
        await a.received("notifications/initialized")
        assert [one["method"] for one in a.heard][:3] == ["initialize", "notifications/initialized", "tools/list"]


async def test_a_member_that_does_not_answer_in_time_is_left_out_and_taken_in_when_it_comes() -> None:
    may = asyncio.Event()

    async def late(params: Any, _: Any) -> Any:
        await may.wait()
        return {"protocolVersion": params["protocolVersion"], "capabilities": {"tools": {}, "prompts": {}}}

    slow = Server("late", prompts=["p"], on={"initialize": late})
    async with client_of(grouped(patience=1.0, a=Server("x"), slow=slow)) as client:
        result = await client.greet()
        assert result["instructions"] == "Not available at the moment: slow."
        assert await client.names() == ["a__x"]
        may.set()
        await client.heard(TOOLS_CHANGED)
        await client.heard("notifications/prompts/list_changed")
        assert client.all("notifications/resources/list_changed") == []
        assert await client.names() == ["a__x", "slow__late"]
        await slow.received("notifications/initialized")


async def test_a_server_none_of_whose_members_answers_is_an_empty_one() -> None:
    broken = Piped(Server("x"))
    broken.fault = down()
    async with client_of(grouped(a=broken, b=broken)) as client:
        result = await client.greet()
        assert "None of the servers" in result["instructions"]
        assert await client.names() == []
        assert await client.names("resources/list") == []


async def test_a_member_that_refuses_to_be_initialized_is_left_out() -> None:
    async with client_of(grouped(a=Server("x"), b=Server(on={"initialize": _refuse}))) as client:
        assert "Not available at the moment: b." in (await client.greet())["instructions"]
        assert (
            "server b: it refused to be initialized (internal error)"
            in (await client.error("tools/call", name="b__y"))["message"]
        )


async def _refuse(*_: Any) -> Any:
    raise ValueError("no")


async def test_without_members_it_is_an_empty_server() -> None:
    async with client_of(grouped()) as client:
        assert "instructions" not in await client.greet()
        assert await client.names() == []


async def test_a_ping_is_answered_without_any_member() -> None:
    a = Server("x")
    async with client_of(grouped(a=a)) as client:
        assert await client.result("ping") == {}
        assert a.heard == []


async def test_pings_of_members_are_answered_here() -> None:
    piped = Piped(Server("x"))
    async with client_of(grouped(a=piped)) as client:
        await client.greet()
        await piped.links[0].say(msg.request("p", "ping"))
        assert (await piped.links[0].received(None)).doc == {"jsonrpc": "2.0", "id": "p", "result": {}}
        assert client.told == []


# --- Lists ---------------------------------------------------------------------------------------------------------


async def test_all_pages_of_all_members_are_one_page_in_the_order_of_the_file() -> None:
    many = [f"t{number}" for number in range(25)]
    async with client_of(grouped(b=Server(*many, page=10), a=Server("x"))) as client:
        await client.greet()
        result = await client.result("tools/list")
        assert [one["name"] for one in result["tools"]] == [*(f"b__{name}" for name in many), "a__x"]
        assert list(result) == ["tools"]
        assert b'{"name":"a__x","n":1.0}' in (await client.ask("tools/list")).raw


async def test_a_cursor_that_we_never_gave_is_refused() -> None:
    async with client_of(grouped(a=Server("x"))) as client:
        assert (await client.error("tools/list", cursor="5"))["code"] == -32602


async def test_members_are_asked_only_for_what_they_declare_and_tools_always() -> None:
    bare = Server()
    bare.lists = {}
    bare.capabilities = {}
    async with client_of(grouped(a=bare, b=Server("x", prompts=["p"]))) as client:
        await client.greet()
        assert await client.names() == ["b__x"]
        assert await client.names("prompts/list") == ["b__p"]
        assert [one["method"] for one in bare.heard] == ["initialize", "notifications/initialized", "tools/list"]


async def test_a_list_that_is_late_is_left_out_then_announced_then_there() -> None:
    may = asyncio.Event()

    async def late(*_: Any) -> Any:
        await may.wait()
        return {"tools": [{"name": "late"}]}

    slow = Server(on={"tools/list": late}, capabilities={"logging": {}})
    async with client_of(grouped(patience=1.0, a=Server("x"), slow=slow)) as client:
        await client.greet()
        await client.result("logging/setLevel", level="info")
        assert await client.names() == ["a__x"]
        note = await client.heard("notifications/message")
        assert note.params["logger"] == "merged"
        assert "slow" in note.params["data"]
        assert await client.names() == ["a__x"]
        assert len(slow.all("tools/list")) == 1  # not once more while it is on its way
        may.set()
        await client.heard(TOOLS_CHANGED)
        may.clear()
        assert await client.names() == ["a__x", "slow__late"]  # though it is late again
        may.set()
        await eventually(lambda: len(slow.all("tools/list")) >= 2)
        assert await client.names() == ["a__x", "slow__late"]
        assert len(client.all(TOOLS_CHANGED)) == 1
        assert len(client.all("notifications/message")) == 1


async def test_who_is_left_out_of_a_list_is_named_in_it_for_as_long_as_it_is() -> None:
    away = Piped(Server("y"))
    away.fault = down("no such command")
    fails = Server("z", on={"tools/list": _refuse})
    async with client_of(grouped(a=Server("x"), b=fails, c=away)) as client:
        await client.greet()
        result = await client.result("tools/list")
        assert [one["name"] for one in result["tools"]] == ["a__x"]
        whys = result["_meta"]["mcp-remote-server/leftOut"]
        assert whys == {"b": "server b: tools/list failed", "c": "server c: no such command"}
        away.fault = None
        del fails.on["tools/list"]
        await client.heard(TOOLS_CHANGED)
        assert "_meta" not in await client.result("tools/list")


async def test_list_changed_of_a_member_is_passed_on_and_the_list_is_fetched_again() -> None:
    a = Server("x")
    async with client_of(grouped(a=a, b=Server("y"))) as client:
        await client.greet()
        assert await client.names() == ["a__x", "b__y"]
        a.lists["tools/list"] = ["z"]
        await a.sessions[0].notify(TOOLS_CHANGED)
        await client.heard(TOOLS_CHANGED)
        assert await client.names() == ["a__z", "b__y"]


# --- Calls ---------------------------------------------------------------------------------------------------------


async def test_a_call_reaches_its_member_under_its_own_name_and_comes_back_under_its_id() -> None:
    a, b = Server("x"), Server("x")
    async with client_of(grouped(a=a, b=b)) as client:
        await client.greet()
        raw = b'{"id":"\\u0041","method":"tools/call","jsonrpc":"2.0","params":{"arguments":{"n":1.0},"name":"b__x"}}'
        answer = await client.send(msg.parse_one(raw))
        assert answer.id == "A"
        assert answer.result["arguments"] == {"n": 1.0}
        assert b.all("tools/call")[0]["params"]["name"] == "x"
        assert a.all("tools/call") == []


async def test_names_that_would_collide_reach_the_right_member() -> None:
    async with client_of(grouped(a=Server("b__c"), a__b=Server("c"))) as client:
        await client.greet()
        names = await client.names()
        assert len(set(names)) == 2
        answers = [(await client.result("tools/call", name=name))["content"][0]["text"] for name in names]
        assert answers == ["b__c", "c"]


@pytest.mark.parametrize("own", ["x", "fs.read/all", "t" * 80])
async def test_a_call_works_in_a_session_that_never_listed_anything(own: str) -> None:
    for session in ("s", None):
        a = Server("other", own, page=1)
        async with client_of(grouped(a=a, b=Server("y")), session=session) as client:
            result = await client.result("tools/call", name=join_name("a", own))
            assert result["content"][0]["text"] == own
            assert a.heard[0]["params"]["clientInfo"] == {"name": "merged", "version": "1"}
            assert a.heard[1]["method"] == "notifications/initialized"


async def test_a_call_by_name_wakes_nobody_else() -> None:
    b = Server("y")
    async with client_of(grouped(a=Server("x"), b=b), session=None) as client:
        await client.result("tools/call", name="a__x")
        assert b.heard == []


async def test_what_nobody_has_is_an_error_that_says_who_is_away() -> None:
    broken = Piped(Server("x"))
    broken.fault = down()
    async with client_of(grouped(a=Server("x"), b=broken)) as client:
        await client.greet()
        for name in ("x", "c__x", "a__x_0123456789ab", "", "b"):
            error = await client.error("tools/call", name=name)
            assert error["code"] == -32602
            assert "not available at the moment: b" in error["message"]
        assert (await client.error("tools/call", name=5))["code"] == -32602
        assert (await client.error("prompts/get", name="x"))["code"] == -32602
        assert (await client.error("what/ever"))["code"] == -32601


async def test_a_call_of_a_member_that_does_not_run_names_it_and_why() -> None:
    broken = Piped(Server("x"))
    broken.fault = down("npx was not found")
    async with client_of(grouped(a=Server("x"), b=broken)) as client:
        await client.greet()
        error = await client.error("tools/call", name="b__x")
        assert (error["code"], error["data"]["may_have_run"]) == (-31009, False)
        assert error["message"] == "server b: npx was not found"


async def test_prompts_and_completions_reach_their_member() -> None:
    a, b = Server(prompts=["p"]), Server(prompts=["p", "q.r"], templates=["x://{id}"])
    async with client_of(grouped(a=a, b=b)) as client:
        await client.greet()
        names = await client.names("prompts/list")
        assert names == ["a__p", "b__p", join_name("b", "q.r")]
        assert (await client.result("prompts/get", name=names[2]))["description"] == "q.r"
        argument = {"name": "n", "value": "v"}
        reference = {"type": "ref/prompt", "name": names[1]}
        asked = (await client.result("completion/complete", ref=reference, argument=argument))["asked"]
        assert asked == {"ref": {"type": "ref/prompt", "name": "p"}, "argument": argument}
        reference = {"type": "ref/resource", "uri": "x://{id}"}
        await client.result("completion/complete", ref=reference, argument=argument)
        assert len(b.all("completion/complete")) == 2
        for wrong in ({"type": "ref/resource", "uri": "y://"}, {"type": "?"}, 5):
            assert (await client.error("completion/complete", ref=wrong, argument=argument))["code"] == -32602


async def test_progress_comes_back_with_its_call_and_under_its_token() -> None:
    async def report(params: dict[str, Any], session: Any) -> Any:
        await session.progress(params["_meta"]["progressToken"], 1)
        await session.progress("not mine", 1)
        return {}

    async with client_of(grouped(a=Server("x", on={"tools/call": report}), b=Server())) as client:
        await client.greet()
        answer = await client.ask("tools/call", name="a__x", _meta={"progressToken": "t"})
        ((progress, exchange),) = client.all("notifications/progress")
        assert progress.params == {"progressToken": "t", "progress": 1}
        assert exchange == answer.key


async def test_a_cancelled_call_is_cancelled_at_its_member_and_has_no_answer() -> None:
    piped = Piped(Server("x"))
    piped.silent = {"tools/call"}
    async with client_of(grouped(a=piped)) as client:
        await client.greet()
        assert client.tasks is not None
        call = client.tasks.create_task(client.link.send(msg.request(5, "tools/call", {"name": "a__x"})))
        sent = await piped.links[0].received("tools/call")
        await client.notify("notifications/cancelled", requestId=5, reason="enough")
        await call
        cancelled = await piped.links[0].received("notifications/cancelled")
        assert cancelled.params == {"requestId": sent.id, "reason": "enough"}
        assert sent.id is not None
        await piped.links[0].say(msg.result(sent.id, {}))  # too late, for nobody
        assert await client.result("ping") == {}


async def test_calls_run_side_by_side_and_a_slow_member_holds_nobody_up() -> None:
    async with client_of(grouped(slow=Server("x", on={"tools/call": forever}), b=Server("y"))) as client:
        await client.greet()
        call = client.background("tools/call", name="slow__x")
        assert (await client.result("tools/call", name="b__y"))["content"][0]["text"] == "y"
        assert not call.done()
        call.cancel()


async def test_a_task_is_asked_of_the_member_that_has_it() -> None:
    async def begin(*_: Any) -> Any:
        return {"task": {"taskId": "t1", "status": "working"}}

    async def answer(params: dict[str, Any], _: Any) -> Any:
        return {"taskId": params["taskId"], "status": "completed"}

    b = Server("x", on={"tools/call": begin, "tasks/get": answer}, capabilities={"tasks": {}})
    async with client_of(grouped(a=Server("x"), b=b)) as client:
        await client.greet()
        await client.result("tools/call", name="b__x", task={})
        assert (await client.result("tasks/get", taskId="t1"))["status"] == "completed"
        assert (await client.error("tasks/get", taskId="t2"))["code"] == -32602


async def test_without_a_session_nobody_is_missing_who_was_not_asked() -> None:
    async with client_of(grouped(a=Server("x"), b=Server("y")), session=None) as client:
        assert (await client.error("tools/call", name="nope"))["message"] == 'there is no tool "nope"'


async def test_a_defect_of_ours_costs_one_request(monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_: Any) -> Any:
        raise KeyError("secret")

    async with client_of(grouped(a=Server("x"))) as client:
        await client.greet()
        monkeypatch.setattr("server_stub.backends.merged_lists.Lists.merged", fail)
        error = await client.error("tools/list")
        assert error["code"] == -32603
        assert "secret" not in str(error)
        await client.result("tools/call", name="a__x")


# --- Resources -----------------------------------------------------------------------------------------------------


async def test_resources_of_one_uri_are_both_there_and_each_is_read_of_its_own_member() -> None:
    a, b = Server(resources=["x:1", "x:a"]), Server(resources=["x:1", "x:b"])
    async with client_of(grouped(a=a, b=b)) as client:
        await client.greet()
        uris = await client.names("resources/list")
        assert uris == ["x:1", "x:a", join_uri("b", "x:1"), "x:b"]
        for uri, server in zip(uris, (a, a, b, b), strict=True):
            (content,) = (await client.result("resources/read", uri=uri))["contents"]
            assert content == {"uri": uri, "text": f"of {id(server)}"}


@pytest.mark.parametrize("session", ["s", None])
async def test_a_uri_is_read_in_a_session_that_never_listed_anything(session: str | None) -> None:
    a, b = Server(resources=["x:1"]), Server(resources=["x:1", "x:2"], templates=["y://{id}"])
    async with client_of(grouped(a=a, b=b), session=session) as client:
        for uri, server in (("x:2", b), (join_uri("b", "x:1"), b), ("x:1", a), ("y://7", b)):
            (content,) = (await client.result("resources/read", uri=uri))["contents"]
            assert content == {"uri": uri, "text": f"of {id(server)}"}


@pytest.mark.parametrize("session", ["s", None])
async def test_a_link_in_a_tools_result_is_read_of_the_member_that_gave_it(session: str | None) -> None:
    async def give(*_: Any) -> Any:
        return {"content": [{"type": "resource_link", "uri": "x:1", "name": "n"}]}

    a = Server(resources=["x:1"])
    b = Server("give", resources=["x:2"], templates=["x:{n}"], on={"tools/call": give})
    group = grouped(a=a, b=b)
    async with client_of(group, session=session) as client:
        await client.names("resources/list")
        (link,) = (await client.result("tools/call", name="b__give"))["content"]
    async with client_of(group, session=session) as client:
        (content,) = (await client.result("resources/read", uri=link["uri"]))["contents"]
        assert content == {"uri": link["uri"], "text": f"of {id(b)}"}


async def test_a_uri_that_nobody_lists_is_asked_of_each_until_one_knows_it() -> None:
    async def read(params: dict[str, Any], _: Any) -> Any:
        return {"contents": [{"uri": params["uri"], "text": "hidden"}]}

    a, b, c = Server(resources=["x:1"]), Server(resources=[], on={"resources/read": read}), Server("t")
    async with client_of(grouped(a=a, b=b, c=c)) as client:
        await client.greet()
        assert (await client.result("resources/read", uri="h:1"))["contents"][0]["text"] == "hidden"
        await client.result("resources/read", uri="h:1")
        assert len(a.all("resources/read")) == 1  # from now on it is known whose it is
        assert c.all("resources/read") == []


async def test_a_uri_that_nobody_knows_is_the_error_of_who_was_asked() -> None:
    async with client_of(grouped(a=Server(resources=["x:1"]), b=Server("t"))) as client:
        await client.greet()
        assert (await client.error("resources/read", uri="h:1"))["message"] == "no such resource"
        error = await client.error("resources/read", uri=join_uri("z", "x:1"))
        assert (error["code"], error["data"]["uri"]) == (-32002, join_uri("z", "x:1"))
    async with client_of(grouped(b=Server("t"))) as client:
        assert (await client.error("resources/read", uri="h:1"))["code"] == -32002
        assert (await client.error("resources/read", uri=1))["code"] == -32602


async def test_subscriptions_reach_their_member_and_updates_come_back_under_the_clients_uri() -> None:
    a, b = Server(resources=["x:1"]), Server(resources=["x:1"])
    async with client_of(grouped(a=a, b=b)) as client:
        await client.greet()
        _, uri = await client.names("resources/list")
        await client.result("resources/subscribe", uri=uri)
        assert b.all("resources/subscribe")[0]["params"] == {"uri": "x:1"}
        await b.sessions[0].notify("notifications/resources/updated", {"uri": "x:1"})
        await a.sessions[0].notify("notifications/resources/updated", {"uri": "x:1"})
        await client.heard("notifications/resources/updated", 2)
        assert [one.params["uri"] for one, _ in client.all("notifications/resources/updated")] == [uri, "x:1"]
        await client.result("resources/unsubscribe", uri=uri)
        assert b.all("resources/unsubscribe")[0]["params"] == {"uri": "x:1"}
        assert a.all("resources/unsubscribe") == []


# --- What members say and ask --------------------------------------------------------------------------------------


async def test_questions_of_two_members_under_one_id_get_their_own_answers() -> None:
    a, b = Piped(Server("x")), Piped(Server("y"))
    async with client_of(grouped(a=a, b=b)) as client:
        await client.greet(roots={})
        for piped in (a, b):
            await piped.links[0].say(msg.request(1, "roots/list", {"_meta": {"progressToken": 1}}))
        first, second = (one for one, _ in client.all("roots/list"))
        assert first.id != second.id
        assert isinstance(first.id, str)
        assert len(first.id) > 16
        progress = {"progressToken": second.params["_meta"]["progressToken"], "progress": 1}
        await client.notify("notifications/progress", **progress)
        assert second.id is not None
        await client.link.send(msg.result(second.id, {"roots": ["b"]}))
        await client.link.send(msg.error(first.id, -1, "no"))
        await client.link.send(msg.result(1, {"roots": ["nobody asked"]}))
        assert (await b.links[0].received("notifications/progress")).params == {"progressToken": 1, "progress": 1}
        assert (await b.links[0].received(None)).doc == {"jsonrpc": "2.0", "id": 1, "result": {"roots": ["b"]}}
        answer = await a.links[0].received(None)
        assert (answer.kind, answer.id) == (Kind.ERROR, 1)
        assert len([one for one in a.links[0].sent if one.is_answer]) == 1


async def test_a_question_belongs_to_the_call_in_whose_course_it_is_asked() -> None:
    async def ask(_: Any, session: Any) -> Any:
        return {"answer": await session.request("sampling/createMessage", {})}

    piped = Piped(Server("y"))
    piped.silent = {"tools/call"}
    async with client_of(grouped(a=Server("x", on={"tools/call": ask}), b=piped)) as client:
        await client.greet(sampling={})
        for name in ("a__x", "b__y"):
            call = client.background("tools/call", name=name)
            if name == "b__y":
                sent = await piped.links[0].received("tools/call")
                await piped.links[0].say(msg.request("q", "sampling/createMessage"))
                assert sent.id is not None
            question = await client.heard("sampling/createMessage", 1 if name == "a__x" else 2)
            assert client.told[-1][1] is not None
            assert question.id is not None
            await client.link.send(msg.result(question.id, {"text": "hello"}))
            if name == "b__y":
                await piped.links[0].received(None)
                assert sent.id is not None
                await piped.links[0].say(msg.result(sent.id, {}))
            answer = await call
            assert client.told[-1][1] == answer.key
            if name == "a__x":
                assert answer.result == {"answer": {"text": "hello"}}


async def test_a_client_without_a_session_cannot_be_asked() -> None:
    piped = Piped(Server("x"))
    async with client_of(grouped(a=piped), session=None) as client:
        await client.result("tools/list")
        await piped.links[0].say(msg.request(1, "roots/list"))
        assert (await piped.links[0].received(None)).doc["error"]["code"] == -32601
        assert client.told == []


async def test_a_member_that_cancels_or_goes_withdraws_its_questions() -> None:
    piped = Piped(Server("x"))
    async with client_of(grouped(a=piped)) as client:
        await client.greet()
        for identifier in (1, 2):
            await piped.links[0].say(msg.request(identifier, "roots/list"))
        first, second = (one for one, _ in client.all("roots/list"))
        await piped.links[0].say(msg.notification("notifications/cancelled", {"requestId": 1}))
        await piped.links[0].say(msg.notification("notifications/cancelled", {"requestId": 7}))
        piped.die()
        await client.heard("notifications/cancelled", 2)
        withdrawn = [one.params["requestId"] for one, _ in client.all("notifications/cancelled")]
        assert withdrawn == [first.id, second.id]


async def test_what_members_log_names_them() -> None:
    a = Server("x")
    async with client_of(grouped(a=a)) as client:
        await client.greet()
        await a.sessions[0].log("info", "hello", "net")
        await a.sessions[0].notify("notifications/whatever", {"n": 1.0})
        assert (await client.heard("notifications/message")).params == {
            "level": "info",
            "logger": "a.net",
            "data": "hello",
        }
        assert (await client.heard("notifications/whatever")).params == {"n": 1.0}


async def test_a_level_goes_to_all_that_log_and_to_those_that_come_later() -> None:
    a, b = Server("x", capabilities={"logging": {}}), Server("y")
    piped = Piped(Server("z", capabilities={"logging": {}}))
    async with client_of(grouped(a=a, b=b, c=piped)) as client:
        await client.greet()
        assert await client.result("logging/setLevel", level="warning") == {}
        assert (await client.error("logging/setLevel", level="loud"))["code"] == -32602
        assert len(a.all("logging/setLevel")) == 1
        assert b.all("logging/setLevel") == []
        piped.die()
        await eventually(lambda: len(piped.server.all("logging/setLevel")) == 2)


async def test_other_notifications_of_the_client_go_to_all_members() -> None:
    a, b = Server("x"), Server("y")
    async with client_of(grouped(a=a, b=b)) as client:
        await client.greet()
        await client.notify("notifications/roots/list_changed")
        await a.received("notifications/roots/list_changed")
        await b.received("notifications/roots/list_changed")


# --- Members that die, come and go ---------------------------------------------------------------------------------


async def test_a_member_that_dies_in_mid_call_is_named_and_comes_back() -> None:
    piped = Piped(Server("x"))
    piped.silent = {"tools/call"}
    async with client_of(grouped(a=piped, b=Server("y"))) as client:
        await client.greet()
        call = client.background("tools/call", name="a__x")
        await piped.links[0].received("tools/call")
        piped.die("it was killed")
        error = (await call).doc["error"]
        assert error["code"] == -31009
        assert error["message"] == "server a: it was killed"
        assert error["data"]["may_have_run"] is True
        assert (await client.result("tools/call", name="b__y"))["content"][0]["text"] == "y"
        await client.heard(TOOLS_CHANGED, 2)  # it went, and it came
        piped.silent = set()
        assert (await client.result("tools/call", name="a__x"))["content"][0]["text"] == "x"
        assert piped.links[0].closed.is_set()
        assert await client.names() == ["a__x", "b__y"]


async def test_a_member_that_is_gone_is_missing_from_the_lists_only() -> None:
    piped = Piped(Server("x"))
    async with client_of(grouped(pause=30.0, a=piped, b=Server("y"))) as client:
        await client.greet()
        assert await client.names() == ["a__x", "b__y"]
        piped.die()
        await client.heard(TOOLS_CHANGED)
        assert await client.names() == ["b__y"]
        assert (await client.error("tools/call", name="a__x"))["message"] == "server a: the child has died"


async def test_a_call_by_name_tries_a_lost_member_again_at_once() -> None:
    piped = Piped(Server("x"))
    piped.fault = down()
    async with client_of(grouped(pause=0.2, a=piped)) as client:
        await client.greet()
        piped.fault = None
        await asyncio.sleep(0.2)  # it is not tried again and again in the same moment
        assert (await client.result("tools/call", name="a__x"))["content"][0]["text"] == "x"
        await client.heard(TOOLS_CHANGED)


async def test_subscriptions_are_made_again_when_a_member_is_back() -> None:
    piped = Piped(Server(resources=["x:1"]))
    async with client_of(grouped(a=piped)) as client:
        await client.greet()
        await client.result("resources/subscribe", uri="x:1")
        piped.die()
        await piped.server.received("resources/subscribe", 2)


async def test_a_member_that_does_not_start_is_tried_again_after_longer_and_longer_pauses() -> None:
    piped = Piped(Server("x"))
    piped.fault = down()
    async with client_of(grouped(pause=0.01, a=piped)) as client:
        await client.greet()
        await eventually(lambda: len(piped.links) >= 4)
        assert client.told == []
        piped.fault = None
        await client.heard(TOOLS_CHANGED)
        assert await client.names() == ["a__x"]
    count = len(piped.links)
    await asyncio.sleep(0.05)
    assert len(piped.links) == count


async def test_a_member_that_may_have_been_mended_is_tried_at_once() -> None:
    piped = Piped(Server("x"))
    piped.fault = down()
    group = grouped(pause=10 * SECONDS, a=piped)
    async with client_of(group) as client:
        await client.greet()
        piped.fault = None
        group.changed()
        await client.heard(TOOLS_CHANGED)
        assert await client.names() == ["a__x"]


async def test_a_reload_takes_members_in_and_lets_them_go_while_others_notice_nothing() -> None:
    stays, goes, comes = Server("x", on={"tools/call": forever}), Piped(Server("y")), Server("z")
    goes.silent = {"tools/call"}
    now: dict[str, Connect] = connects({"stays": stays, "goes": goes})
    group = Group(lambda _: now, "merged", "1", pause=0.02)
    async with client_of(group) as client:
        await client.greet()
        running = client.background("tools/call", name="stays__x")
        await stays.received("tools/call")
        ending = client.background("tools/call", name="goes__y")
        await goes.links[0].received("tools/call")
        now = {**connects({"comes": comes}), "stays": now["stays"]}
        group.changed()
        assert (await ending).doc["error"]["message"] == "server goes: it was taken out of the configuration"
        await client.heard(TOOLS_CHANGED, 2)
        assert await client.names() == ["comes__z", "stays__x"]
        await eventually(goes.links[0].closed.is_set)
        assert not running.done()
        assert len(stays.all("initialize")) == 1
        assert (await client.error("tools/call", name="goes__y"))["code"] == -32602
        running.cancel()


async def test_an_open_call_may_end_at_the_member_that_was_replaced() -> None:
    async def asking(_: Any, session: Any) -> Any:
        return {"answer": await session.request("sampling/createMessage", {})}

    old, new = Server("x", on={"tools/call": asking}), Server("x", "y")
    now: dict[str, Connect] = connects({"a": old})
    before = now["a"]
    group = Group(lambda _: now, "merged", "1", pause=0.02, grace=SECONDS)
    async with client_of(group) as client:
        await client.greet(sampling={})
        call = client.background("tools/call", name="a__x")
        question = await client.heard("sampling/createMessage")
        now = connects({"a": new})
        group.changed()
        await client.heard(TOOLS_CHANGED)
        assert await client.names() == ["a__x", "a__y"]
        assert client.tasks is not None
        waiting = client.tasks.create_task(group.until_let_go(before))
        await asyncio.sleep(0)
        assert not waiting.done()
        await client.link.send(msg.result(question.id or 0, {"role": "assistant"}))
        assert (await call).result == {"answer": {"role": "assistant"}}
        await waiting
        assert (await client.result("tools/call", name="a__x"))["arguments"] is None


async def test_a_member_whose_configuration_changed_is_another_one() -> None:
    now: dict[str, Connect] = connects({"a": Server("old")})
    group = Group(lambda _: now, "merged", "1", pause=0.02)
    async with client_of(group) as client:
        await client.greet()
        assert await client.names() == ["a__old"]
        now = connects({"a": Server("new")})
        group.changed()
        await client.heard(TOOLS_CHANGED, 2)
        assert await client.names() == ["a__new"]


async def test_everybody_sees_the_members_of_his_own() -> None:
    both = connects({"a": Server("x"), "b": Server("y")})
    group = Group(lambda principal: both if principal == "all" else {"a": both["a"]}, "merged", "1")
    for principal, names in (("all", ["a__x", "b__y"]), (None, ["a__x"])):
        async with client_of(group, principal=principal) as client:
            await client.greet()
            assert await client.names() == names
            assert ("error" in (await client.ask("tools/call", name="b__y")).doc) == (principal is None)


async def _until_it_answers(client: Client, name: str) -> None:
    async with asyncio.timeout(SECONDS):
        while (await client.ask("tools/call", name=name)).kind is not Kind.RESULT:  # noqa: ASYNC110  (no event says so)
            await asyncio.sleep(0.01)


async def test_every_request_has_one_answer_whatever_dies_comes_and_goes() -> None:
    dice = random.Random(7)  # noqa: S311  (the same course each time)
    members = {name: Piped(Server("x", resources=[f"{name}:1"])) for name in "abc"}
    fixed: dict[str, Connect] = dict(members)
    now = dict(fixed)
    group = Group(lambda _: now, "merged", "1", pause=0.001)
    async with client_of(group) as client:
        await client.greet()
        asked: list[asyncio.Task[msg.Message]] = []
        for step in range(150):
            asked += [client.background("tools/call", name=f"{name}__x", arguments={"n": step}) for name in "abc"]
            asked.append(client.background(dice.choice(["tools/list", "resources/list"])))
            asked.append(client.background("resources/read", uri=f"{dice.choice('abc')}:1"))
            victim = members[dice.choice("abc")]
            if step % 3 == 0 and victim.links and victim.links[-1].is_listened_to:
                victim.die()
            if step % 10 == 5:
                now = {name: fixed[name] for name in dice.sample("abc", dice.randint(1, 3))}
                group.changed()
            await asyncio.sleep(0)
        answers = [await task for task in asked]
        assert len(answers) == 150 * 5
        now = dict(fixed)
        group.changed()
        for name in "abc":
            await _until_it_answers(client, f"{name}__x")
        results = [one for one in answers if one.kind is Kind.RESULT]
        assert len(results) > 150


# --- The end -------------------------------------------------------------------------------------------------------


async def test_closing_ends_open_calls_and_closes_every_member() -> None:
    piped = Piped(Server("x"))
    piped.silent = {"tools/call"}
    async with client_of(grouped(a=piped)) as client:
        await client.greet()

        async def call() -> None:
            with pytest.raises(ShuttingDown):
                await client.link.send(msg.request(1, "tools/call", {"name": "a__x"}))

        assert client.tasks is not None
        ending = client.tasks.create_task(call())
        await piped.links[0].received("tools/call")
        await client.link.close()
        await ending
        assert piped.links[0].closed.is_set()
        with pytest.raises(ShuttingDown) as caught:
            await client.link.send(msg.request(2, "ping"))
        assert not caught.value.may_have_run


@pytest.mark.parametrize("steps", range(8))
async def test_it_closes_in_whatever_moment_a_member_is_dying(steps: int) -> None:
    piped = Piped(Server("x"))
    async with client_of(grouped(a=piped)) as client:
        await client.greet()
        piped.die()
        for _ in range(steps):
            await asyncio.sleep(0)
    assert all(link.closed.is_set() for link in piped.links)


async def test_a_session_ends_though_a_member_is_lost_at_that_moment() -> None:
    held, may_end = asyncio.Event(), asyncio.Event()

    class Lost(ScriptedLink):
        """Ends the connection at once; whoever listens takes a while to notice that nobody wants to."""

        async def listen(self) -> None:
            try:
                await asyncio.Event().wait()
            finally:
                held.set()
                await may_end.wait()

    def lost(peer: Peer) -> Link:
        link = Lost(peer)
        link.reply = lambda request: msg.error(request.id, -32603, "no")
        return link

    link = grouped(patience=0.1, a=lost).connect(Peer("s", None))
    await link.open(_nowhere)
    async with asyncio.timeout(SECONDS), asyncio.TaskGroup() as tasks:
        listening = tasks.create_task(link.listen())
        tasks.create_task(link.send(msg.request(1, "tools/list")))
        await held.wait()
        listening.cancel()  # as a session does when its client leaves; `close` comes after that
        await asyncio.sleep(0)
        may_end.set()
        await asyncio.wait([listening])
    await link.close()


async def _nowhere(*_: Any) -> None:
    """Take what a client that has left would be given."""


async def test_a_link_that_was_never_opened_can_be_closed() -> None:
    await grouped(a=Server("x")).connect(Peer("s", None)).close()


async def test_real_children_are_members_and_end_with_the_session() -> None:
    connect = connect_process(ServerSpec(child("echo")))
    async with client_of(grouped(a=connect, b=connect)) as client:
        await client.greet()
        for member in ("a", "b"):
            answer = await client.result("tools/call", name=f"{member}__t", arguments={"x": 1.0})
            assert answer == {"name": "t", "arguments": {"x": 1.0}}
        children = psutil.Process().children()
        assert len(children) >= 2
        (killed, *others) = children
        killed.kill()
        await client.heard(TOOLS_CHANGED, 2)  # it went, and another came
        for member in ("a", "b"):
            assert (await client.result("tools/call", name=f"{member}__t"))["name"] == "t"
    await eventually(lambda: not any(one.is_running() for one in children))
    assert others

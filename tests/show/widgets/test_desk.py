"""What every desk does for its view."""

import threading

import attnlab as al


def test_a_desk_answers_a_view_that_asks_whether_its_kernel_is_there(monkeypatch):
    desk = al.SoftmaxDesk()
    sent = []
    monkeypatch.setattr(desk, "send", sent.append)
    desk._on_message(desk, {"action": "ping"}, [])
    assert sent == [{"pong": True}]
    assert desk.error == ""


def test_messages_of_the_view_never_wait_for_the_cell_that_showed_the_desk(monkeypatch):
    """ipykernel routes them to the thread that spoke last, unless a desk says otherwise."""
    from ipykernel.comm.comm import BaseComm

    channel = BaseComm(target_name="jupyter.widget")
    channel._reply_subshell_id = None  # the cell's own thread has spoken last
    monkeypatch.setattr("ipywidgets.widgets.widget.comm.create_comm", lambda **_: channel)
    al.SoftmaxDesk()
    assert channel._reply_subshell_for({"method": "update"}, "of widgets") == "of widgets"


def test_what_a_cell_changes_is_sent_though_a_thread_sends_just_then(monkeypatch):
    """ipywidgets gathers the changes of all threads in one set, and empties it when one is sent."""
    desk = al.SoftmaxDesk()
    sent, thread_is_done = [], threading.Event()

    def change() -> None:
        with desk.hold_sync():
            desk.code = "desk.set()"
            thread_is_done.wait(5)

    cell = threading.Thread(target=change)

    def send_state(key):
        sent.extend(key)
        if cell.ident is None:  # the cell comes just when this thread's changes have left
            cell.start()
            cell.join(0.3)

    monkeypatch.setattr(desk, "send_state", send_state)
    with desk.hold_sync():
        desk.error = "of this thread"
    thread_is_done.set()
    cell.join()
    assert sent == ["error", "code"]

"""The hand-over between threads."""

from __future__ import annotations

import threading

import pytest

from stream.mailbox import Mailbox, MailboxClosed, Overflow


def in_thread(work: threading.Thread) -> threading.Thread:
    work.start()
    return work


def test_items_come_out_in_order() -> None:
    box: Mailbox[int] = Mailbox(3)
    for number in range(3):
        box.put(number)
    box.close()
    assert list(box) == [0, 1, 2]


def test_replace_keeps_the_newest_and_counts() -> None:
    box: Mailbox[int] = Mailbox(1, Overflow.REPLACE)
    for number in range(5):
        box.put(number)
    box.close()
    assert list(box) == [4]
    assert box.dropped == 4


def test_wait_loses_nothing() -> None:
    box: Mailbox[int] = Mailbox(1, Overflow.WAIT)
    taken: list[int] = []
    consumer = in_thread(threading.Thread(target=lambda: taken.extend(box)))
    for number in range(1000):
        box.put(number)
    box.close()
    consumer.join(10)
    assert taken == list(range(1000))
    assert box.dropped == 0


def test_put_fails_once_closed() -> None:
    box: Mailbox[int] = Mailbox()
    box.close()
    with pytest.raises(MailboxClosed):
        box.put(1)


def test_an_error_reaches_both_sides_and_the_first_one_stays() -> None:
    box: Mailbox[int] = Mailbox()
    box.put(1)
    box.close(OSError("first"))
    box.close(OSError("second"))
    with pytest.raises(OSError, match="first"):
        box.put(2)
    with pytest.raises(OSError, match="first"):
        next(iter(box))


def test_closing_wakes_a_waiting_producer() -> None:
    box: Mailbox[int] = Mailbox(1)
    box.put(1)
    errors: list[BaseException] = []
    began = threading.Event()

    def produce() -> None:
        began.set()
        try:
            box.put(2)
        except OSError as error:
            errors.append(error)

    producer = in_thread(threading.Thread(target=produce))
    began.wait(10)
    box.close(OSError("gone"))
    producer.join(10)
    assert [str(error) for error in errors] == ["gone"]


def test_closing_wakes_a_waiting_consumer() -> None:
    box: Mailbox[int] = Mailbox()
    consumer = in_thread(threading.Thread(target=lambda: list(box)))
    box.close()
    consumer.join(10)
    assert not consumer.is_alive()


def test_a_mailbox_without_a_place_fails() -> None:
    with pytest.raises(ValueError, match="at least one"):
        Mailbox(0)

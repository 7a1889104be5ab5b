"""Messages: printed, dropped, prefixed, and relayed from worker processes."""

import logging

from experiments.harness.runtime import log
from experiments.harness.runtime.log import logger


def test_messages_are_printed_within_the_block_only(capsys):
    logger.info("before")
    with log.to_stdout():
        logger.info("within")
        logger.debug("detail")
    logger.info("after")
    assert capsys.readouterr() == ("within\n", "")
    assert logger.level == logging.NOTSET
    assert not logger.handlers


def test_by_default_messages_are_printed_unless_logging_is_configured(capsys, monkeypatch):
    with log.to_stdout_by_default():  # pytest has configured the root logger
        logger.warning("recorded by pytest")
    assert capsys.readouterr().out == ""
    monkeypatch.setattr(logger, "propagate", False)
    with log.to_stdout_by_default():
        logger.info("printed")
    assert capsys.readouterr().out == "printed\n"


def test_quiet_drops_information_but_not_warnings(capsys):
    with log.to_stdout():
        with log.quiet():
            logger.info("dropped")
            logger.warning("shown")
        with log.quiet(logging.WARNING):
            logger.warning("dropped too")
        logger.info("shown again")
    assert capsys.readouterr().out == "shown\nshown again\n"


def test_a_prefix_is_put_before_each_message_of_the_block(capsys):
    with log.to_stdout():
        with log.prefixed("100% "):
            logger.info("%d of %d", 3, 4)
        logger.info("plain")
    assert capsys.readouterr().out == "100% 3 of 4\nplain\n"

"""`make run` is a process's own, as `strop` is: what it changes of this one is put back."""

from tests.unit.gateway.command.conftest import own_signals as own_signals

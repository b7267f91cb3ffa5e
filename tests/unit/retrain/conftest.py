"""What the tests of this folder share: a world that learns."""

from tests.learning_fixtures import settings as settings
from tests.learning_fixtures import tiny_base as tiny_base
from tests.learning_fixtures import world as world

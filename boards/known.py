"""The boards that there are: a new one is one small file, and a line here."""

from boards.icesugar_pro import ICESUGAR_PRO
from boards.ulx3s import ULX3S_85F

BOARDS = {board.name: board for board in (ULX3S_85F, ICESUGAR_PRO)}

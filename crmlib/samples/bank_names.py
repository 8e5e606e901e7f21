"""Invented names of the sample bank's places, and common names of its people."""

from __future__ import annotations

import numpy as np

REGIONS = ("Northmark", "Eastvale", "Southmoor", "Westholm", "Lakeshire", "Hillford", "Riverland", "Saltcoast")
AFFLUENCE = np.array([0.15, 0.0, -0.10, 0.05, 0.0, -0.15, -0.05, 0.10])
"""Added to the log of the income in each region."""

TOWNS_PER_REGION = 3
_ENDINGS = ("bridge", "field", "gate")
TOWNS = tuple(region[:5].rstrip("aeiou") + ending for region in REGIONS for ending in _ENDINGS)

GIVEN_FEMALE = (
    "Анна", "Мария", "Елена", "Ольга", "Наталья", "Татьяна", "Ирина", "Светлана", "Екатерина", "Юлия",
    "Дарья", "Алина", "Ксения", "Полина", "Вера", "Надежда", "Галина", "Людмила", "Нина", "Зоя",
)  # fmt: skip
GIVEN_MALE = (
    "Александр", "Сергей", "Дмитрий", "Андрей", "Алексей", "Иван", "Михаил", "Николай", "Владимир", "Павел",
    "Максим", "Артём", "Егор", "Олег", "Виктор", "Юрий", "Борис", "Глеб", "Фёдор", "Семён",
)  # fmt: skip
FAMILY = (
    "Лесков", "Речкин", "Горин", "Полев", "Озеров", "Ветров", "Снегин", "Дубов", "Соколин", "Березин",
    "Каменев", "Лугов", "Морозин", "Зимин", "Садов", "Калинин", "Рябинин", "Журавин", "Орлин", "Щукин",
    "Песков", "Долин", "Заречин", "Мостовов", "Кленов", "Ясенев", "Травин", "Крылов", "Боров", "Ручьёв",
)  # fmt: skip
"""Family names of men; those of women take a final а."""

OCCUPATIONS = (
    "engineer", "teacher", "nurse", "driver", "clerk", "builder", "cook", "shop assistant", "programmer",
    "accountant", "manager", "farmer", "mechanic", "researcher", "artist",
)  # fmt: skip
CHANNELS = ("branch", "contact centre", "internet", "mobile")
TOPICS = ("fees", "waiting time", "card declined", "wrong booking", "mobile application", "staff")

PRAISE = (
    "The bank helped me at once, thank you.", "Best branch in town, friendly people.", "Opened an account in ten minutes.",
    "The application gets better with every release.", "They paid my claim without a fuss.", "Good rate on the deposit.",
)  # fmt: skip
REMARKS = (
    "Does anybody know when the branch opens?", "They changed the look of the application.", "Got a new card by post.",
    "Which bank do you use for travelling?", "Waiting for an answer from the bank.", "Another letter from the bank today.",
)  # fmt: skip
BLAME = (
    "An hour in the queue again.", "They charged me a fee nobody told me about.", "My card was declined abroad.",
    "The application has been down since morning.", "Nobody answers at the contact centre.", "Thinking of another bank.",
)  # fmt: skip
"""What is written about the bank in social networks: pleased, neither, cross."""

"""The named views of a dashboard: choose one, keep the present settings under a name, forget one."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import ipywidgets as widgets

from crmlib.errors import NotFoundError
from crmlib.store import saved_views

if TYPE_CHECKING:
    from crmlib.views.frame import Frame

log = logging.getLogger(__name__)


class Views:
    """The controls of named views in a dashboard's frame; ``root`` is their widget."""

    def __init__(self, frame: Frame) -> None:
        self.frame = frame
        self.chosen = widgets.Dropdown(options=[("", "")])
        self.name = widgets.Text()
        self.keep, self.drop = widgets.Button(), widgets.Button()
        self.chosen.observe(frame.guarded(self._apply), "value")
        self.keep.on_click(frame.guarded(self._save))
        self.drop.on_click(frame.guarded(self._delete))
        self.root = widgets.Box([self.chosen, self.name, self.keep, self.drop])
        self.root.add_class("crm-views")
        for control in (self.name, self.keep, self.drop):
            control.add_class("crm-needs-change")

    def reword(self) -> None:
        say = self.frame.say
        self.name.placeholder = say.text("Name of this view")
        self.name.tooltip = self.name.placeholder
        self.chosen.tooltip = say.text("Saved views")
        self.keep.description, self.drop.description = say.text("Save view"), say.text("Delete view")
        self.refresh()

    def refresh(self) -> None:
        if not self.frame.data.is_dir():
            return
        found = saved_views.names(self.frame.data, self.frame.dashboard)
        with self.frame.quietly():
            kept = self.chosen.value
            self.chosen.options = [(self.frame.say.text("Saved views"), ""), *((name, name) for name in found)]
            self.chosen.value = kept if kept in found else ""
        self.drop.disabled = not self.chosen.value

    def _apply(self) -> None:
        name = self.chosen.value
        self.drop.disabled = not name
        apply = self.frame._apply
        if name and apply:
            settings = saved_views.load(self.frame.data, self.frame.dashboard, name)
            try:
                apply(settings)
            except (KeyError, TypeError, ValueError) as error:
                log.warning("view %s of %s cannot be restored: %r", name, self.frame.dashboard, error)
                words = self.frame.say.text("The view {name} does not fit this data any more; save it anew.", name=name)
                raise NotFoundError(words) from error
            self.name.value = name

    def _save(self) -> None:
        self.frame.require("change")
        frame, settings = self.frame, self.frame._settings
        assert settings is not None
        name = " ".join(self.name.value.split())
        saved_views.save(frame.data, frame.dashboard, name, settings(), now=frame.now(), actor=frame.actor)
        self.refresh()
        with frame.quietly():
            self.chosen.value = name
        self.drop.disabled = False
        frame.tell(frame.say.text("View {name} saved.", name=name))

    def _delete(self) -> None:
        self.frame.require("change")
        name = self.chosen.value
        saved_views.delete(self.frame.data, self.frame.dashboard, name)
        self.refresh()
        self.frame.tell(self.frame.say.text("View {name} deleted.", name=name))

"""Opening and ending a session of the browser."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import APIRouter, Request, Response

from histoseek.web.audit import note_asked
from histoseek.web.bodies import KeyBody, json_body
from histoseek.web.schemas import KeyIn, SessionOut
from histoseek.web.sessions import IDLE_S, cookie_name

if TYPE_CHECKING:
    from histoseek.web.guard import Client, Doorkeeper
    from histoseek.web.sessions import Session


def router(doorkeeper: Doorkeeper) -> APIRouter:
    """The routes of this file."""
    routes = APIRouter(tags=["session"])
    needs_key = doorkeeper.keys is not None

    @routes.get("/session")
    def session(request: Request, response: Response) -> SessionOut:
        """Who is asking; where no key is needed, a browser is given its cookie here too."""
        client: Client = request.state.client
        held = client.session
        if held is None and not needs_key:
            held = set_cookie(request, response, doorkeeper, None)
        return SessionOut(role=client.role, needs_key=needs_key, csrf=held.csrf if held is not None else None)

    @routes.post("/session", openapi_extra=json_body(KeyIn))
    def open_session(asked: KeyBody, request: Request, response: Response) -> SessionOut:
        """Open a session with a key; the browser keeps a cookie in its place."""
        if not needs_key:
            held = set_cookie(request, response, doorkeeper, None)
            return SessionOut(role="write", needs_key=False, csrf=held.csrf)
        key_id, role = doorkeeper.key_of(asked.key, request.client.host if request.client else "unknown")
        note_asked(key=key_id)
        held = set_cookie(request, response, doorkeeper, key_id)
        return SessionOut(role=role, needs_key=True, csrf=held.csrf)

    @routes.delete("/session")
    def close_session(request: Request, response: Response) -> SessionOut:
        """End the session."""
        client: Client = request.state.client
        if client.cookie is not None:
            doorkeeper.sessions.close(client.cookie)
        response.delete_cookie(cookie_name(request.headers.get("host", "")), path="/", httponly=True, samesite="strict")
        return SessionOut(role=None if needs_key else "write", needs_key=needs_key, csrf=None)

    return routes


def set_cookie(request: Request, response: Response, doorkeeper: Doorkeeper, key_id: str | None) -> Session:
    """Begin a session, and give its cookie: no script reads it, and no other site's page sends it."""
    text, session = doorkeeper.sessions.open(key_id)
    secure = request.url.scheme == "https"
    name, age = cookie_name(request.headers.get("host", "")), int(IDLE_S)
    response.set_cookie(name, text, max_age=age, path="/", secure=secure, httponly=True, samesite="strict")
    return session

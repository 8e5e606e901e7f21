"""A service of JupyterHub that says to nginx, signed, who a visitor is; started by the Hub (jupyterhub_config.py).

    GET start?next=/…      logs the visitor in with the Hub, then goes on
    GET check              for nginx alone: the signed token in X-Crm-Identity, or 401

Needs jupyterhub 5, pyjwt[crypto] and tornado; the key is made as in signer.py.
"""

import datetime as dt
import os
import sys
from pathlib import Path
from urllib.parse import urlsplit

import jwt
import tornado.ioloop
import tornado.web
from jupyterhub.services.auth import HubOAuthCallbackHandler, HubOAuthenticated

KEY = Path(sys.argv[1]).read_text()
PREFIX = os.environ["JUPYTERHUB_SERVICE_PREFIX"]


class Start(HubOAuthenticated, tornado.web.RequestHandler):
    @tornado.web.authenticated
    def get(self) -> None:
        wanted = self.get_query_argument("next", "/")
        own = wanted.startswith("/") and not wanted.startswith(("//", "/\\"))
        self.redirect(wanted if own else "/")


class Check(HubOAuthenticated, tornado.web.RequestHandler):
    async def get(self) -> None:
        # Not get_user(): that checks for other sites' requests, which is the workbench's own affair here.
        cookie = self.get_secure_cookie(self.hub_auth.cookie_name)
        session = self.hub_auth.get_session_id(self)
        user = cookie and await self.hub_auth.user_for_token(cookie.decode(), session_id=session, sync=False)
        if not user:
            self.set_status(401)
            return
        now = dt.datetime.now(dt.UTC)
        claims = {"iss": "https://crm.bank.example/signer", "aud": "crm", "sub": user["name"], "groups": user["groups"]}
        claims |= {"iat": now, "nbf": now, "exp": now + dt.timedelta(minutes=2)}
        self.set_header("X-Crm-Identity", jwt.encode(claims, KEY, "ES256"))
        self.set_status(204)


place = urlsplit(os.environ["JUPYTERHUB_SERVICE_URL"])
rules = [(PREFIX + "start", Start), (PREFIX + "check", Check), (PREFIX + "oauth_callback", HubOAuthCallbackHandler)]
tornado.web.Application(rules, cookie_secret=os.urandom(32)).listen(place.port, place.hostname)
tornado.ioloop.IOLoop.current().start()

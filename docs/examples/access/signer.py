"""Says to nginx, signed, who a visitor is: for a company whose proxy knows people but signs nothing itself.

Makes its keys with:  openssl ecparam -name prime256v1 -genkey -noout -out signer.key
                      openssl ec -in signer.key -pubout -out DATA/proxy.pem
Runs with:            python signer.py signer.key groups.toml /run/crm/signer.sock
groups.toml has a line for each person:  maria = ["crm-marketing"]
Whoever can open the socket can be anybody: keep it, and the key, to nginx and the signer (user, group, mode 0660).
"""

import datetime as dt
import http.server
import os
import socketserver
import sys
import tomllib
from pathlib import Path

import jwt

key, groups, place = Path(sys.argv[1]).read_text(), Path(sys.argv[2]), Path(sys.argv[3])


class Signer(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        name = self.headers.get("X-Signer-User", "")
        known = tomllib.loads(groups.read_text(encoding="utf-8"))
        self.send_response(204 if name in known else 403)
        if name in known:
            now = dt.datetime.now(dt.UTC)
            claims = {"iss": "https://crm.bank.example/signer", "aud": "crm", "sub": name, "groups": known[name]}
            claims |= {"iat": now, "nbf": now, "exp": now + dt.timedelta(minutes=2)}
            self.send_header("X-Crm-Identity", jwt.encode(claims, key, "ES256"))
        self.end_headers()

    def address_string(self) -> str:
        return "nginx"  # a socket in the file system has no address


place.unlink(missing_ok=True)
os.umask(0o117)
with socketserver.ThreadingUnixStreamServer(str(place), Signer) as server:
    server.serve_forever()

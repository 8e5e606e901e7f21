# JupyterHub 5 beside `crm dashboards --proxy`: its people open the dashboards, its groups become roles (access.toml).
# Behind nginx-hub.conf. Replace the authenticator by the company's (LDAP, OpenID Connect …).
import json
import sys

c = get_config()  # noqa: F821

c.JupyterHub.bind_url = "http://127.0.0.1:8000"
c.JupyterHub.services = [
    {
        "name": "crm",
        "url": "http://127.0.0.1:9100",
        "command": [sys.executable, "hub_signer.py", "/etc/crm/signer.key"],
        "environment": {"JUPYTERHUB_COOKIE_OPTIONS": json.dumps({"path": "/", "samesite": "Lax"})},
        "oauth_no_confirm": True,
        "display": False,
    }
]
c.JupyterHub.load_groups = {"crm-marketing": {"users": ["maria"]}, "contact-centre": {"users": ["otto"]}}
c.JupyterHub.load_roles = [{"name": "user", "scopes": ["self", "access:services!service=crm"]}]

c.JupyterHub.authenticator_class = "dummy"  # anybody with this password: to try it only
c.DummyAuthenticator.password = "to try it only"
c.Authenticator.allow_all = True

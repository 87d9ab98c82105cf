"""Signing in with a key, which stays in a cookie that no script can read and no other site can send."""

from fastapi import APIRouter, Request, Response

from medley.serving.http.auth import COOKIE
from medley.serving.http.page.answers import Answers, local
from medley.serving.http.page.forms import Fields

MAX_KEY = 256  # characters


def add_signing_in(routes: APIRouter, answers: Answers) -> None:
    """Adds the form that asks for a key, if the service has keys."""
    keys = answers.keys
    if keys is None:
        return

    def form(request: Request) -> Response:
        return answers.render(request, "sign_in.html", next=local(request.query_params.get("next", "/")), wrong=False)

    def sign_in(request: Request, fields: Fields) -> Response:
        key, target = fields.text("key"), local(fields.text("next"))
        if not key or len(key) > MAX_KEY or keys.caller(key) is None:
            return answers.render(request, "sign_in.html", status=401, next=target, wrong=True)
        response = answers.redirect(request, "/")
        response.headers["location"] = target
        response.set_cookie(
            COOKIE, key, httponly=True, samesite="strict", secure=request.url.scheme == "https", path="/"
        )
        return response

    def sign_out(request: Request, fields: Fields) -> Response:
        response = answers.redirect(request, "/sign-in")
        response.delete_cookie(COOKIE, httponly=True, samesite="strict", path="/")
        return response

    routes.add_api_route("/sign-in", answers.get(form, role=None), response_model=None)
    routes.add_api_route("/sign-in", answers.post(sign_in, role=None), methods=["POST"], response_model=None)
    routes.add_api_route("/sign-out", answers.post(sign_out, role=None), methods=["POST"], response_model=None)

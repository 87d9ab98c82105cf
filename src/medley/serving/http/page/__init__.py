"""The page of the service: server-rendered HTML that works without JavaScript, and one script that makes it live."""

from medley.serving.http.page.router import router

__all__ = ["router"]

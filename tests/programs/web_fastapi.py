"""A FastAPI application."""
from fastapi import FastAPI, HTTPException
from web_hold import hold

application = FastAPI()


@application.get("/hold")
async def held():
    return hold()


@application.get("/fail")
async def fail():
    raise ValueError("no good")  # MARK: raise


@application.get("/missing")
async def missing():
    raise HTTPException(404)


@application.get("/")
def index():
    return "hello"

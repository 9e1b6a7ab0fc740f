"""Calls the API with OpenAI's client for Python: clients.py CASE URL KEY MODEL. Prints the result as JSON."""

import json
import sys

import openai

case, url, key, model = sys.argv[1:]
sent = []
hooks = {"request": [sent.append]}
client = openai.OpenAI(
    base_url=url, api_key=key, max_retries=0, http_client=openai.DefaultHttpxClient(event_hooks=hooks)
)
messages = [{"role": "user", "content": "Say hello."}]
weather = {
    "type": "function",
    "function": {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}},
}
schema = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}


def chat():
    answer = client.chat.completions.create(model=model, messages=messages)
    return {"text": answer.choices[0].message.content}


def stream():
    text, total = "", None
    chunks = client.chat.completions.create(
        model=model, messages=messages, stream=True, stream_options={"include_usage": True}
    )
    for chunk in chunks:
        if chunk.usage:
            total = chunk.usage.total_tokens
        for choice in chunk.choices:
            text += choice.delta.content or ""
    return {"text": text, "total_tokens": total}


def abort():
    with client.chat.completions.create(model=model, messages=messages, stream=True) as chunks:
        for chunk in chunks:
            if chunk.choices and chunk.choices[0].delta.content:
                return {"text": chunk.choices[0].delta.content}


def models():
    return {"found": any(found.id == model for found in client.models.list())}


def embeddings():
    default = client.embeddings.create(model="fake-embedding", input="abc")
    floats = client.embeddings.create(model="fake-embedding", input="abc", encoding_format="float")
    return {"default": list(map(float, default.data[0].embedding)), "float": floats.data[0].embedding}


def schema_case():
    form = {"type": "json_schema", "json_schema": {"name": "place", "schema": schema, "strict": True}}
    answer = client.chat.completions.create(model=model, messages=messages, response_format=form)
    return json.loads(answer.choices[0].message.content)


def tools():
    answer = client.chat.completions.create(model=model, messages=messages, tools=[weather])
    return {"arguments": answer.choices[0].message.tool_calls[0].function.arguments}


def error():
    try:
        client.chat.completions.create(model=model, messages=messages)
    except openai.APIStatusError as failure:
        after = failure.response.headers.get("retry-after")
        return {"class": type(failure).__name__, "request_id": failure.request_id, "retry_after": after}


def retries():
    try:
        client.with_options(max_retries=2).chat.completions.create(model=model, messages=messages)
    except openai.APIStatusError:
        return {"requests": len(sent)}


cases = {
    "chat": chat,
    "stream": stream,
    "abort": abort,
    "models": models,
    "embeddings": embeddings,
    "schema": schema_case,
    "tools": tools,
    "error": error,
    "retries": retries,
}
print(json.dumps(cases[case]()))

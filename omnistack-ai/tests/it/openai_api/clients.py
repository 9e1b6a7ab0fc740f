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
flat_weather = {"type": "function", **weather["function"]}
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
    vectors = {"default": list(map(float, default.data[0].embedding)), "float": floats.data[0].embedding}
    return {**vectors, "numpy": sys.modules.get("numpy") is not None}


def embeddings_without_numpy():
    # An import of it fails from now on.
    sys.modules["numpy"] = None
    return embeddings()


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


def respond():
    answer = client.responses.create(model=model, input="Say hello.", instructions="Be brief.", store=False)
    return {"text": answer.output_text, "status": answer.status, "total_tokens": answer.usage.total_tokens}


def respond_stream():
    text = ""
    with client.responses.stream(model=model, input="Say hello.") as events:
        for event in events:
            if event.type == "response.output_text.delta":
                text += event.delta
        answer = events.get_final_response()
    return {"text": text, "whole": answer.output_text, "total_tokens": answer.usage.total_tokens}


def respond_abort():
    with client.responses.create(model=model, input="Say hello.", stream=True) as events:
        for event in events:
            if event.type == "response.output_text.delta":
                return {"text": event.delta}


def respond_schema():
    form = {"type": "json_schema", "name": "place", "schema": schema, "strict": True}
    answer = client.responses.create(model=model, input="Where?", text={"format": form})
    return json.loads(answer.output_text)


def respond_tools():
    arguments = ""
    conversation = [{"role": "user", "content": "Weather?"}]
    with client.responses.stream(model=model, input=conversation, tools=[flat_weather]) as events:
        for event in events:
            if event.type == "response.function_call_arguments.delta":
                arguments += event.delta
        answer = events.get_final_response()
    call = answer.output[0]
    conversation += answer.output
    conversation.append({"type": "function_call_output", "call_id": call.call_id, "output": "sun"})
    client.responses.create(model=model, input=conversation, tools=[flat_weather])
    return {"arguments": arguments, "whole": call.arguments}


def respond_error():
    text = ""
    try:
        for event in client.responses.create(model=model, input="Say hello.", stream=True):
            text += event.delta if event.type == "response.output_text.delta" else ""
    except openai.APIError as failure:
        return {"text": text, "message": failure.message, "code": failure.code}


cases = {
    "chat": chat,
    "stream": stream,
    "abort": abort,
    "models": models,
    "embeddings": embeddings,
    "embeddings_without_numpy": embeddings_without_numpy,
    "schema": schema_case,
    "tools": tools,
    "respond": respond,
    "respond_stream": respond_stream,
    "respond_abort": respond_abort,
    "respond_schema": respond_schema,
    "respond_tools": respond_tools,
    "respond_error": respond_error,
    "error": error,
    "retries": retries,
}
print(json.dumps(cases[case]()))

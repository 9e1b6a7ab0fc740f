"""Reads answers of a provider with the provider's own client: decoders.py PROVIDER URL. For each line of the input,
`whole` or `stream`, it sends a request and prints what the client reads, as JSON."""

import json
import sys

provider, url = sys.argv[1:]
model, prompt = "scripted-model", "Say hello."


def openai_form(client):
    def usage(found):
        if found is None:
            return None
        details = getattr(found, "prompt_tokens_details", None)
        cached = getattr(details, "cached_tokens", None) or 0
        return {"input": found.prompt_tokens, "cached": cached, "output": found.completion_tokens}

    def whole():
        answer = client.chat.completions.create(model=model, messages=[{"role": "user", "content": prompt}])
        [choice] = answer.choices
        calls = [[c.id, c.function.name, c.function.arguments] for c in choice.message.tool_calls or []]
        return answer.id, choice.message.content or "", calls, choice.finish_reason, usage(answer.usage)

    def stream():
        id, text, calls, stop, used = "", "", {}, None, None
        chunks = client.chat.completions.create(
            model=model, messages=[{"role": "user", "content": prompt}], stream=True
        )
        for chunk in chunks:
            id = id or chunk.id
            # Groq also sends the usage in a field of its own.
            used = usage(getattr(chunk, "usage", None) or getattr(getattr(chunk, "x_groq", None), "usage", None)) or used
            for choice in chunk.choices:
                text += choice.delta.content or ""
                stop = choice.finish_reason or stop
                for piece in choice.delta.tool_calls or []:
                    call = calls.setdefault(piece.index, ["", "", ""])
                    call[0] = piece.id or call[0]
                    call[1] += (piece.function and piece.function.name) or ""
                    call[2] += (piece.function and piece.function.arguments) or ""
        return id, text, list(calls.values()), stop, used

    return whole, stream


def openai_client():
    import openai

    return openai_form(openai.OpenAI(base_url=f"{url}/v1", api_key="key", max_retries=0))


def groq_client():
    import groq

    return openai_form(groq.Groq(base_url=url, api_key="key", max_retries=0))


def anthropic_client():
    import anthropic

    client = anthropic.Anthropic(base_url=url, api_key="key", max_retries=0)
    request = {"model": model, "max_tokens": 100, "messages": [{"role": "user", "content": prompt}]}

    def read(message):
        text = "".join(block.text for block in message.content if block.type == "text")
        calls = [[b.id, b.name, json.dumps(b.input)] for b in message.content if b.type == "tool_use"]
        found = message.usage
        cached = found.cache_read_input_tokens or 0
        total = found.input_tokens + cached + (found.cache_creation_input_tokens or 0)
        used = {"input": total, "cached": cached, "output": found.output_tokens}
        return message.id, text, calls, message.stop_reason, used

    def stream():
        with client.messages.stream(**request) as events:
            return read(events.get_final_message())

    return lambda: read(client.messages.create(**request)), stream


def gemini_client():
    from google import genai

    client = genai.Client(api_key="key", http_options=genai.types.HttpOptions(base_url=url))

    def read(answers):
        id, text, calls, stop, used = "", "", [], None, None
        for answer in answers:
            id = id or answer.response_id or ""
            for candidate in answer.candidates or []:
                stop = (candidate.finish_reason and candidate.finish_reason.value) or stop
                for part in (candidate.content and candidate.content.parts) or []:
                    if part.text and not part.thought:
                        text += part.text
                    if part.function_call:
                        calls.append([None, part.function_call.name, json.dumps(part.function_call.args or {})])
            if answer.usage_metadata:
                found = answer.usage_metadata
                output = (found.candidates_token_count or 0) + (found.thoughts_token_count or 0)
                cached = found.cached_content_token_count or 0
                used = {"input": found.prompt_token_count, "cached": cached, "output": output}
        return id, text, calls, stop, used

    def whole():
        return read([client.models.generate_content(model=model, contents=prompt)])

    def stream():
        return read(client.models.generate_content_stream(model=model, contents=prompt))

    return whole, stream


clients = {"openai": openai_client, "groq": groq_client, "anthropic": anthropic_client, "gemini": gemini_client}
whole, stream = clients[provider]()
for line in sys.stdin:
    try:
        read_id, text, calls, stop, used = {"whole": whole, "stream": stream}[line.strip()]()
        answer = {"id": read_id, "text": text, "calls": calls, "stop": stop, "usage": used}
    except Exception as failure:
        answer = {"failure": type(failure).__name__, "message": str(failure)[:500]}
    print(json.dumps(answer), flush=True)

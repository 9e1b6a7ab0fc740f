// Helpers of the page's script: functions for the elements of the page, and for calls of the API.
"use strict";

const find = (id) => document.getElementById(id);
const api = "/api/v1/app";
const headers = { "content-type": "application/json" };

// Calls the API. An expired access token is refreshed once; without a session, the user signs in and comes back.
async function call(method, path, body) {
  const send = () => fetch(api + path, { method, headers: body && headers, body: body && JSON.stringify(body) });
  let response = await send();
  if (response.status === 401) {
    const refresh = { method: "POST", headers, body: '{"mode":"cookie"}' };
    const refreshed = await fetch("/api/v1/public/auth/refresh", refresh);
    if (!refreshed.ok) return location.assign("/auth/sign-in?next=/live");
    response = await send();
  }
  const text = await response.text();
  if (!response.ok) throw new Error(JSON.parse(text).error.message);
  return text && JSON.parse(text);
}

const me = () => call("GET", "/users/me");
const say = (text) => { find("status").textContent = text; };
const on = (id, event, work) => find(id).addEventListener(event, (clicked) => {
  clicked.preventDefault();
  work().catch((error) => say(error.message));
});

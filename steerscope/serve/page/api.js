// What the page asks of the server.
let key = sessionStorage.getItem("steerscope-key") || "";

export function setKey(value) { key = value; sessionStorage.setItem("steerscope-key", value); }

function headers(kind) {
  const found = { "Content-Type": kind || "application/json" };
  if (key) found.Authorization = `Bearer ${key}`;
  return found;
}

async function checked(answer) {
  if (answer.ok) return answer;
  let said = `the server answers ${answer.status}.`;
  try { said = (await answer.json()).error.message; } catch { /* not of ours */ }
  const error = new Error(said);
  error.status = answer.status;
  throw error;
}

export async function get(path) { return (await checked(await fetch(path, { headers: headers() }))).json(); }

export async function post(path, body, signal) {
  const answer = await fetch(path, { method: "POST", headers: headers(), body: JSON.stringify(body), signal });
  return (await checked(answer)).json();
}

export async function remove(path) { return (await checked(await fetch(path, { method: "DELETE", headers: headers() }))).json(); }

export async function upload(path, file) {
  const answer = await fetch(path, { method: "POST", headers: headers("application/octet-stream"), body: file });
  return (await checked(answer)).json();
}

export async function fetchBlob(path) { return (await checked(await fetch(path, { headers: headers() }))).blob(); }

// The chunks of a stream of server-sent events.
export async function* stream(path, body, signal) {
  const answer = await checked(await fetch(path, {
    method: "POST", headers: headers(), body: JSON.stringify({ ...body, stream: true }), signal,
  }));
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let held = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    held += value;
    const events = held.split("\n\n");
    held = events.pop();
    for (const event of events) {
      const data = event.replace(/^data: /, "");
      if (data === "[DONE]") return;
      const chunk = JSON.parse(data);
      if (chunk.error) throw new Error(chunk.error.message);
      yield chunk;
    }
  }
}

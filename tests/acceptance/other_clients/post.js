// Post a body of zeros several times with Node's http and fetch; print one status a line.
// usage: node post.js URL METHOD CONTENT_TYPE BYTES TIMES
const http = require('http');
const [, , url, method, type, bytes, times] = process.argv;
const body = Buffer.alloc(+bytes);

function withHttp() {
  return new Promise((resolve) => {
    const headers = { 'content-type': type, 'content-length': body.length };
    const request = http.request(url, { method, headers }, (answer) => {
      answer.resume();
      answer.on('end', () => resolve(answer.statusCode));
      answer.on('error', (error) => resolve(error.code));
    });
    request.on('error', (error) => resolve(error.code));
    request.end(body);
  });
}

async function withFetch() {
  try {
    const answer = await fetch(url, { method, body, headers: { 'content-type': type } });
    await answer.text();
    return answer.status;
  } catch (error) {
    return (error.cause && error.cause.code) || error.message;
  }
}

(async () => {
  for (let i = 0; i < +times; i += 1) {
    console.log(await (i % 2 ? withFetch() : withHttp()));
  }
})();

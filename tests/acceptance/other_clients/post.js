// Post a body of zeros several times with Node's http and fetch; print one status a line.
// usage: node post.js URL METHOD CONTENT_TYPE KEY BYTES TIMES
const http = require('http');
const [, , url, method, type, key, bytes, times] = process.argv;
const body = Buffer.alloc(+bytes);
const own = { 'content-type': type, 'x-api-key': key };

function withHttp() {
  return new Promise((resolve) => {
    const headers = { ...own, 'content-length': body.length };
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
    const answer = await fetch(url, { method, body, headers: own });
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

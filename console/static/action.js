// Shows how a running command goes on, without a reload. The page works without it.
const EVERY_MS = 1500;

async function look() {
  const shown = document.getElementById("action");
  if (shown.dataset.state !== "running") return;
  try {
    const answer = await fetch(location.href, { credentials: "same-origin" });
    if (answer.ok) {
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const now = page.getElementById("action");
      if (now) shown.replaceWith(document.adoptNode(now));
    }
  } catch {
    // The console does not answer; the next look may.
  }
  setTimeout(look, EVERY_MS);
}

setTimeout(look, EVERY_MS);

// The dial: shows the figures of the chosen target at once. Without it the form asks the server.
const dial = document.getElementById("dial");
const panels = document.querySelectorAll("[data-target]");

dial?.addEventListener("change", () => {
  const chosen = dial.elements.target.value;
  for (const panel of panels) panel.hidden = panel.dataset.target !== chosen;
  const address = new URL(location.href);
  address.searchParams.set("target", chosen);
  history.replaceState(null, "", address);
});

// Takes the colours that were chosen last before anything is drawn; without a choice the system's are taken.
'use strict';
try {
  const theme = localStorage.getItem('longlora.theme');
  if (theme === 'light' || theme === 'dark') document.documentElement.dataset.theme = theme;
} catch {
  // A browser that keeps nothing takes the system's colours.
}

/** @file Entry of the page. */
import { StrictMode } from 'react';
import { createRoot } from 'react-dom/client';
import { App } from './app/App';
import { startTheme } from './app/theme';
import { useConfig } from './app/state/configStore';
import { useDataset } from './app/state/datasetStore';
import { useDevice } from './app/state/deviceStore';
import { useTraining } from './app/state/trainingStore';
import './app/styles/tokens.css';
import './app/styles/base.css';

startTheme();
createRoot(document.getElementById('root') as HTMLElement).render(
  <StrictMode>
    <App />
  </StrictMode>,
);
void (async () => {
  await useConfig.getState().restore();
  await useDataset.getState().restore();
  await useTraining.getState().restore();
})();
void useDevice.getState().start();

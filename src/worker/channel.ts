/** @file The name of the BroadcastChannel between tabs and workers. Imports nothing. */
export const CHANNEL = 'studio';

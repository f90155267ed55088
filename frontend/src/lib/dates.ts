/** Where the shop's customers are, whatever their computer's clock is set to. */
const TIME_ZONE = 'Asia/Kolkata';

export function formatDateTime(instant: string, language = 'en'): string {
  return new Intl.DateTimeFormat(`${language}-IN`, {
    dateStyle: 'medium',
    timeStyle: 'short',
    timeZone: TIME_ZONE,
  }).format(new Date(instant));
}

export function formatDate(instant: string, language = 'en'): string {
  return new Intl.DateTimeFormat(`${language}-IN`, {
    dateStyle: 'medium',
    timeZone: TIME_ZONE,
  }).format(new Date(instant));
}

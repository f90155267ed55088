import type { TFunction } from 'i18next';

const EMAIL = /^[^\s@]+@[^\s@]+\.[^\s@]+$/;

/** What the forms check themselves; the API has the last word. */
export function rules(t: TFunction) {
  const required = { required: t('validation.required') };
  return {
    required,
    email: { ...required, pattern: { value: EMAIL, message: t('validation.email') } },
    newPassword: {
      ...required,
      minLength: { value: 8, message: t('validation.password') },
      maxLength: { value: 128, message: t('validation.password') },
    },
    text: (maxLength: number) => ({
      validate: (text: string) => text.trim() !== '' || t('validation.required'),
      maxLength: { value: maxLength, message: t('validation.tooLong') },
    }),
  };
}

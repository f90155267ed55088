import type { User } from '../api/types';
import { keepInTab, readFromTab } from '../lib/tab-storage';
import { mobileNumber } from '../lib/validation';

export type Method = 'upi' | 'credit_card' | 'cash_on_delivery';
export const METHODS: readonly Method[] = ['upi', 'credit_card', 'cash_on_delivery'];

export type CheckoutForm = {
  name: string;
  phone: string;
  street: string;
  city: string;
  pin: string;
  method: Method;
};

/** Each user has one: several may use one browser. */
const keyOf = (user: User) => `bharatmart.checkout.${user.id}`;

/** What has been typed already, in this tab, or what the profile knows. */
export function readDraft(user: User): CheckoutForm {
  const known: CheckoutForm = {
    name: user.full_name,
    phone: mobileNumber(user.phone ?? '') ?? '',
    street: user.address ?? '',
    city: '',
    pin: '',
    method: 'upi',
  };
  try {
    return {
      ...known,
      ...(JSON.parse(readFromTab(keyOf(user)) ?? '{}') as Partial<CheckoutForm>),
    };
  } catch {
    return known;
  }
}

export function keepDraft(user: User, form: Partial<CheckoutForm>) {
  keepInTab(keyOf(user), JSON.stringify(form));
}

export function addressOf({ name, phone, street, city, pin }: CheckoutForm): string {
  const number = mobileNumber(phone) ?? phone;
  return `${name.trim()}\n${street.trim()}\n${city.trim()} ${pin.trim()}\n+91 ${number}`;
}
